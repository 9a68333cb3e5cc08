"""Ranks that wait for others: as long as these live and work, with ears for signals, and saying for whom."""

import atexit
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch.distributed as dist

from tome_zoo.errors import LostRankError

log = logging.getLogger(__name__)

BEAT = 5.0  # s between two signs of life
SILENCE = 120.0  # s without one, after which a rank counts as gone
IDLENESS = 14400.0  # s in which a rank that others wait for has done nothing, after which it counts as hanging
TOLD_AFTER = 60.0  # s, after which a rank says for whom it waits


@dataclass(eq=False)
class _Presence:
    """This process in one group: what it tells the others of itself, and where it learns of them."""

    store: dist.Store
    rank: int
    world_size: int
    work: int = 0
    meetings: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._tell(0)
        self._ended = threading.Event()
        self._beating = threading.Thread(
            target=self._beat, args=[self.store.clone()], name="tome-zoo rank", daemon=True
        )
        self._beating.start()
        atexit.register(self.end)

    def end(self) -> None:
        """Give no more signs: a thread that is inside the store when Python ends would abort the process."""
        self._ended.set()
        self._beating.join(BEAT)
        atexit.unregister(self.end)

    def _tell(self, beat: int, store: dist.Store | None = None) -> None:
        (store or self.store).set(f"rank{self.rank}", f"{beat} {self.work}")

    def _beat(self, store: dist.Store) -> None:
        for beat in itertools.count(1):
            if self._ended.wait(BEAT):
                return
            try:
                self._tell(beat, store)
            except RuntimeError:  # the group has ended
                return

    def meet(self) -> None:
        """Wait until all ranks have come here as often as this one.

        Raises:
            LostRankError: If one of them has ended or hangs.
        """
        number = next(self.meetings)
        places = {rank: f"meeting{number}/{rank}" for rank in range(self.world_size)}
        self.store.set(places[self.rank], "here")
        begin = looked = time.monotonic()
        watch, told, pause = _Watch(), False, 0.001
        while not self.store.check(list(places.values())):
            time.sleep(pause)
            pause = min(2 * pause, 0.2)
            if time.monotonic() - looked < min(BEAT, TOLD_AFTER):
                continue
            looked = time.monotonic()
            missing = [rank for rank, place in places.items() if not self.store.check([place])]
            for other in missing:
                there = self.store.check([f"rank{other}"])
                watch.look(other, self.store.get(f"rank{other}").decode() if there else "- -")
            if not told and looked - begin > TOLD_AFTER:
                log.warning("rank %d waits for %s", self.rank, ", ".join(f"rank {other}" for other in missing))
                told = True


class _Watch:
    """When the signs of each rank, a count of beats and one of work, changed last."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], tuple[str, float]] = {}

    def look(self, rank: int, sign: str) -> None:
        now = time.monotonic()
        limits = {"has given no sign of life": SILENCE, "lives, but has done nothing": IDLENESS}
        for (fault, limit), what in zip(limits.items(), sign.split(" "), strict=True):
            before, since = self._seen.get((rank, fault), ("", now))
            if what != before:
                self._seen[rank, fault] = what, now
            elif now - since > limit:
                raise LostRankError(
                    f"rank {rank} {fault} for {limit:.0f} s: end it, and see what it waits for; what was computed is "
                    "kept, and the same command goes on from there"
                )


_presences: WeakKeyDictionary[dist.ProcessGroup, _Presence] = WeakKeyDictionary()


def announce() -> None:
    """Give signs of life from now on, whatever this process is busy with."""
    _presence()


def retire() -> None:
    """Give no more signs of life; the group is to end."""
    _presence().end()


def meet() -> None:
    """Wait until all ranks of the group are here, however long they work.

    Raises:
        LostRankError: If one of them has ended or hangs.
    """
    _presence().meet()


def report_work() -> None:
    """Let the ranks that wait for this one know that it has done something."""
    if dist.is_initialized():
        _presence().work += 1


def _presence() -> _Presence:
    group = dist.distributed_c10d._get_default_group()
    if group not in _presences:
        store = dist.PrefixStore("tome-zoo/waiting", dist.distributed_c10d._get_default_store())
        _presences[group] = _Presence(store, dist.get_rank(), dist.get_world_size())
    return _presences[group]
