"""Scores of some samples in one file, which is there whole or not at all."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tome_zoo.data.stamp import Stamp
from tome_zoo.evaluation.conditions import Conditions, Timing
from tome_zoo.system.files import atomic_write


@dataclass
class Shard:
    """Scores of some samples, and what their batches took.

    Attributes:
        ids: Of the samples.
        stamps: Of their files when they were read.
        scores: One row `[classes]` each.
        timings: One for each batch.
    """

    ids: list[str] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    scores: list[NDArray[Any]] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)

    def append(self, sample: str, stamp: Stamp, scores: NDArray[Any]) -> None:
        """Add a sample."""
        self.ids.append(sample)
        self.stamps.append(stamp)
        self.scores.append(scores)

    def extend(self, other: "Shard") -> None:
        """Add what another one holds."""
        self.ids += other.ids
        self.stamps += other.stamps
        self.scores += other.scores
        self.timings += other.timings

    def select(self, wanted: Collection[str]) -> "Shard":
        """The scores of these samples alone (a set, if many), and the timings of batches that start with one."""
        found = Shard(timings=[timing for timing in self.timings if timing.batch in wanted])
        for sample, stamp, row in zip(self.ids, self.stamps, self.scores, strict=True):
            if sample in wanted:
                found.append(sample, stamp, row)
        return found

    def write(self, path: Path) -> None:
        """Write it to a file, which appears whole or not at all."""
        known = list({timing.conditions: None for timing in self.timings})
        number = {conditions: index for index, conditions in enumerate(known)}
        with atomic_write(path, "wb") as file:
            np.savez(
                file,
                ids=_texts(self.ids),
                stamps=np.array(self.stamps, dtype=np.int64).reshape(-1, 3),
                scores=np.stack(self.scores) if self.scores else np.empty((0, 0)),
                batches=_texts([timing.batch for timing in self.timings]),
                timings=np.array(
                    [(timing.samples, timing.seconds, timing.peak) for timing in self.timings], dtype=np.float64
                ).reshape(-1, 3),
                conditions=_texts([conditions.to_json() for conditions in known]),
                conditions_of=np.array([number[timing.conditions] for timing in self.timings], dtype=np.int64),
            )

    @classmethod
    def read(cls, path: Path, with_scores: bool = True) -> "Shard":
        """The shard of a file; raises OSError, ValueError, KeyError, TypeError, EOFError or BadZipFile if damaged."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            ids = arrays["ids"].tolist()
            known = [Conditions.from_json(text) for text in arrays["conditions"].tolist()]
            columns = (arrays[name].tolist() for name in ("batches", "timings", "conditions_of"))
            return cls(
                ids=ids,
                stamps=[Stamp(*map(int, row)) for row in arrays["stamps"]],
                scores=list(arrays["scores"]) if with_scores else [np.empty(0)] * len(ids),
                timings=[
                    Timing(batch, int(samples), seconds, peak, known[number])
                    for batch, (samples, seconds, peak), number in zip(*columns, strict=True)
                ],
            )


def merge_shards(shards: Iterable[Shard]) -> Shard:
    """One shard of several: of several scores for a sample the first, likewise of a batch under the same conditions."""
    whole, samples, timed = Shard(), set[str](), set[tuple[str, Conditions]]()
    for shard in shards:
        for sample, stamp, row in zip(shard.ids, shard.stamps, shard.scores, strict=True):
            if sample not in samples:
                whole.append(sample, stamp, row)
        samples.update(shard.ids)
        for timing in shard.timings:
            if (timing.batch, timing.conditions) not in timed:
                whole.timings.append(timing)
                timed.add((timing.batch, timing.conditions))
    return whole


def _texts(items: list[str]) -> NDArray[np.str_]:
    return np.array(items, dtype=np.str_)
