"""How ranks find each other: who this process is by its environment, and the waiting for the others, which ends."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import torch.distributed as dist

from tome_zoo.errors import TomeZooError

log = logging.getLogger(__name__)

PATIENCE = 600.0  # s that ranks wait for each other at the start
AGENT_PATIENCE = 60.0  # s for torchrun's own store, which stands before it starts ranks: else torchrun is gone
ATTEMPT = 5.0  # s, after which a rank that cannot connect looks about and tries again
TOLD_AFTER = 10.0  # s, after which a rank says for whom it waits
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PARENT = os.getppid()
OTHERS = (("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"))


class Rank(NamedTuple):
    """Which of how many processes this is; the local ones are those on the same machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def current_rank() -> Rank:
    """This process among those that `torchrun` (or what sets the same variables) started.

    Without all of RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT it is alone, whatever others a scheduler, or a notebook
    before it, has left.
    """
    rank, world_size = _number("RANK"), _number("WORLD_SIZE")
    if rank is None or world_size is None or rank >= world_size or not all(map(os.environ.get, TORCHRUN)):
        return Rank()
    local_rank, local_world_size = _number("LOCAL_RANK") or 0, _number("LOCAL_WORLD_SIZE") or 1
    return Rank(rank, world_size, local_rank, local_world_size)


def warn_if_ignored() -> None:
    """Say that variables which announce several processes are not heeded, if there are such."""
    size = _number("WORLD_SIZE")
    if size is not None and size > 1:
        log.warning(
            "WORLD_SIZE is %d, but not all of %s make sense: this process works alone", size, ", ".join(TORCHRUN)
        )
    for rank, count in OTHERS:
        if rank in os.environ and (_number(count) or 1) > 1:
            log.warning(
                "%s of %s processes by %s, which is ignored: this one works alone, as if it were the only one. To "
                "share the work start one process a machine, and in it torchrun",
                os.environ[rank], os.environ[count], rank,
            )  # fmt: skip


def join(rank: Rank, round_number: int) -> dist.Store:
    """Wait until all ranks are there.

    Signals end the process at once meanwhile, as they end any that waits.

    Args:
        rank: This process.
        round_number: How many groups this process has joined before.

    Returns:
        What `init_process_group` takes as its store; all ranks have reached it.

    Raises:
        TomeZooError: If some do not come within `PATIENCE`, or the store of `torchrun` within `AGENT_PATIENCE`; it
            names them.
    """
    begin = time.monotonic()
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    patience = AGENT_PATIENCE if _agent_store() else PATIENCE
    unset = f"start them, or if there are none, unset {' '.join(TORCHRUN)}"
    with default_signals():
        with _tell_after(TOLD_AFTER, f"rank {rank.rank} of {rank.world_size} waits for rank 0 at {address}"):
            shared = None
            while shared is None:
                try:
                    shared = _connect(rank.world_size, rank.rank == 0)
                except (RuntimeError, ValueError) as error:  # ValueError: a port that is no number
                    reason = str(error).splitlines()[0]
                    if not isinstance(error, ValueError) and not _is_orphan() and time.monotonic() - begin < patience:
                        continue
                    raise TomeZooError(
                        f"rank {rank.rank} of {rank.world_size} cannot reach rank 0 at {address} ({reason}): {unset}"
                    ) from None
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"tome-zoo/{attempt}/{round_number}", shared)
        store.set(f"rank{rank.rank}", "here")
        told = False
        while missing := [other for other in range(rank.world_size) if not store.check([f"rank{other}"])]:
            waited = time.monotonic() - begin
            names = f"rank{'s' if len(missing) > 1 else ''} {' '.join(map(str, missing))}"
            if waited > PATIENCE or _is_orphan():
                raise TomeZooError(
                    f"rank {rank.rank} of {rank.world_size} waited {PATIENCE:.0f} s at {address} for {names}: {unset}"
                )
            if waited > TOLD_AFTER and not told:
                log.warning("rank %d of %d waits for %s at %s", rank.rank, rank.world_size, names, address)
                told = True
            time.sleep(0.05)
    return store


@contextmanager
def default_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the process at once for a while: waiting inside libraries hears no handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cache
def _connect(world_size: int, first: bool) -> dist.Store:
    """The store that all ranks see, one connection a process; rank 0 opens it where torchrun has not."""
    return dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world_size,
        is_master=first and not _agent_store(),
        timeout=timedelta(seconds=ATTEMPT),
        wait_for_workers=False,
        multi_tenant=True,
    )


@contextmanager
def _tell_after(seconds: float, message: str) -> Iterator[None]:
    timer = threading.Timer(seconds, log.warning, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _agent_store() -> bool:
    """Whether torchrun itself keeps the store that ranks meet at."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _is_orphan() -> bool:
    """Whether what started this process has ended since."""
    return os.getppid() != _PARENT


def _number(name: str) -> int | None:
    """A whole number of at least 0 from the environment; None for anything else."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
