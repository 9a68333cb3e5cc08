"""Several processes on one evaluation: who this one is, and how they tell each other what they found.

Under `torchrun` each process is one rank. Objects travel over gloo; a group with GPUs has nccl beside it.
"""

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from tome_zoo.errors import LostRankError, TomeZooError
from tome_zoo.system.rendezvous import Rank, current_rank, default_signals, join, warn_if_ignored
from tome_zoo.system.waiting import announce, meet, report_work, retire

__all__ = [
    "Rank",
    "all_gather",
    "broadcast",
    "current_rank",
    "gather_to_rank0",
    "process_group",
    "raise_together",
    "report_work",
]

T = TypeVar("T")

log = logging.getLogger(__name__)

COLLECTIVES = timedelta(hours=2)  # of what all ranks do at once; they wait for slower ones before, see `waiting`
_rounds = itertools.count()


@contextmanager
def process_group() -> Iterator[Rank]:
    """Join the other processes for a while; a group that exists already is used and left as it is.

    Raises:
        TomeZooError: If the others do not come.
    """
    rank = current_rank()
    if dist.is_initialized():
        announce()
        yield rank._replace(rank=dist.get_rank(), world_size=dist.get_world_size())
        return
    if rank.world_size == 1:
        warn_if_ignored()
        yield rank
        return
    store = join(rank, next(_rounds))
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    with default_signals(), _lost_ranks():
        dist.init_process_group(backend, store=store, rank=rank.rank, world_size=rank.world_size, timeout=COLLECTIVES)
    announce()
    try:
        yield rank
    finally:
        retire()
        dist.destroy_process_group()


@contextmanager
def _lost_ranks() -> Iterator[None]:
    """Say in a line that another rank has gone, which torch tells in its own way."""
    try:
        yield
    except RuntimeError as error:
        log.debug("collective failed", exc_info=True)
        raise LostRankError(
            f"another rank has ended ({str(error).splitlines()[0]}): its own messages say why; what was computed is "
            "kept, and the same command goes on from there"
        ) from None


def all_gather(mine: T) -> list[T]:
    """What each rank has, in the order of ranks."""
    if not dist.is_initialized():
        return [mine]
    found: list[Any] = [None] * dist.get_world_size()
    with _lost_ranks():
        meet()
        dist.all_gather_object(found, mine)
    return found


def gather_to_rank0(mine: T) -> list[T]:
    """At rank 0 what each rank has, in the order of ranks; elsewhere nothing."""
    if not dist.is_initialized():
        return [mine]
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    with _lost_ranks():
        meet()
        dist.gather_object(mine, found)
    return found or []


def broadcast(mine: T) -> T:
    """What rank 0 has; ranks that wait for it are deaf meanwhile, for it does not work long before it tells."""
    if not dist.is_initialized():
        return mine
    box = [mine]
    with _lost_ranks():
        dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def raise_together() -> Iterator[None]:
    """A foreseeable error in one rank becomes the error of all, so that none waits for another.

    Inside, ranks may tell each other things only before anything there can fail.

    Raises:
        TomeZooError: In every rank, what the first of the failing ones raised; likewise OSError.
    """
    error: TomeZooError | OSError | None = None
    try:
        yield
    except (TomeZooError, OSError) as raised:
        error = raised
    if isinstance(error, LostRankError):  # nobody is left to tell
        raise error
    first = next((other for other in all_gather(error) if other is not None), None)
    if first is not None:
        raise first
