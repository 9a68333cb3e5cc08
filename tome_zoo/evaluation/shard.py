"""Scores of some samples in one file, which is there whole or not at all."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tome_zoo.data.stamp import Stamp


class Timing(NamedTuple):
    """What one batch took.

    Attributes:
        samples: How many.
        seconds: Of the model's forward.
        peak: Peak memory in MiB; 0 where it is not known.
        where: On what: device, batch size and the like, as JSON.
    """

    samples: int
    seconds: float
    peak: float
    where: str


@dataclass
class Shard:
    """Scores of some samples, with what else is known of them.

    Attributes:
        ids: Of the samples that have scores.
        stamps: Of their files when they were read.
        scores: One row `[classes]` each.
        failed: Why others have none, by id.
        timings: One for each batch.
    """

    ids: list[str] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    scores: list[NDArray[Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.ids or self.failed)

    def take(self, other: "Shard", known: Collection[str] = ()) -> None:
        """Add what another one holds, but the scores of no sample of `known` (a set, if there are many)."""
        for sample, stamp, row in zip(other.ids, other.stamps, other.scores, strict=True):
            if sample not in known:
                self.ids.append(sample)
                self.stamps.append(stamp)
                self.scores.append(row)
        self.failed.update(other.failed)
        self.timings += other.timings

    def only(self, wanted: Collection[str]) -> "Shard":
        """The same with the scores of these samples alone."""
        rows = [row for row, sample in enumerate(self.ids) if sample in wanted]
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            stamps=[self.stamps[row] for row in rows],
            scores=[self.scores[row] for row in rows],
        )

    def write(self, path: Path) -> None:
        """Write it to a file, which appears whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                np.savez(
                    file,
                    ids=np.array(self.ids, dtype=np.str_),
                    stamps=np.array(self.stamps, dtype=np.int64).reshape(-1, 2),
                    scores=np.stack(self.scores) if self.scores else np.empty((0, 0)),
                    failed=np.array(list(self.failed), dtype=np.str_),
                    reasons=np.array(list(self.failed.values()), dtype=np.str_),
                    timings=np.array([timing[:3] for timing in self.timings], dtype=np.float64).reshape(-1, 3),
                    where=np.array([timing.where for timing in self.timings], dtype=np.str_),
                )
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:  # a full disk, Ctrl-C
            partial.unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, path: Path, with_scores: bool = True) -> "Shard":
        """The shard of a file; raises OSError, ValueError, KeyError, EOFError or BadZipFile where it is damaged."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            ids = arrays["ids"].tolist()
            return cls(
                ids=ids,
                stamps=[(int(size), int(changed)) for size, changed in arrays["stamps"]],
                scores=list(arrays["scores"]) if with_scores else [np.empty(0)] * len(ids),
                failed=dict(zip(arrays["failed"].tolist(), arrays["reasons"].tolist(), strict=True)),
                timings=[
                    Timing(int(samples), seconds, peak, where)
                    for (samples, seconds, peak), where in zip(
                        arrays["timings"].tolist(), arrays["where"].tolist(), strict=True
                    )
                ],
            )


def merged(shards: Iterable[Shard]) -> Shard:
    """One shard of several: of several scores for a sample, and of several reasons why it has none, the first."""
    whole, known = Shard(), set[str]()
    for shard in shards:
        fresh = {sample: reason for sample, reason in shard.failed.items() if sample not in whole.failed}
        whole.take(replace(shard, failed=fresh), known)
        known.update(shard.ids)
    return whole
