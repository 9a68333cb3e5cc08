"""What was found for each row of a table."""

import statistics
from dataclasses import dataclass
from typing import Any

from tome_zoo.paper.cells import Cell

COLUMNS = (
    "part", "choice", "model", "r", "reducer", "prop_attn", "protocol", "metric", "printed", "reproduced", "measured",
    "difference", "spread", "seeds", "n_scored", "gmacs", "printed_gmacs", "macs_left", "samples_per_second",
    "printed_samples_per_second", "speedup", "reduction_share", "not_run",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A row of a table as it was run.

    Attributes:
        scores: Of each file of weights, in per cent; none where it could not be scored.
        n_scored: Samples behind each score.
        gmacs: 10^9 multiply-accumulates of one view; None where nothing counted them.
        macs_left: Their part of the unmerged model's.
        samples_per_second: Of the benchmark where it ran, else of the evaluation's forward.
        speedup: Over the library's unmerged model, by the benchmark.
        reduction_share: Part of the time that reducing takes, by the benchmark.
        reason: Why it has no score.
    """

    cell: Cell
    metric: str
    scores: tuple[float, ...] = ()
    n_scored: int | None = None
    gmacs: float | None = None
    macs_left: float | None = None
    samples_per_second: float | None = None
    speedup: float | None = None
    reduction_share: float | None = None
    reason: str = ""

    @property
    def score(self) -> float | None:
        """Mean over the files of weights."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the files of weights; None for fewer than two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def printed(self) -> float | None:
        """What the table prints of this very model."""
        return None if self.cell.substituted else self.cell.row.score

    @property
    def difference(self) -> float | None:
        """Measured less printed."""
        return None if self.score is None or self.printed is None else self.score - self.printed

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names of `COLUMNS`; None where there is none."""
        row, own = self.cell.row, not self.cell.substituted
        return {
            "part": row.part, "choice": row.choice, "model": self.cell.model, "r": self.cell.text or None,
            "reducer": None if row.baseline else row.reducer, "prop_attn": self.cell.prop_attn,
            "protocol": self.cell.protocol, "metric": self.metric, "printed": self.printed,
            "reproduced": row.reproduced if own else None, "measured": self.score, "difference": self.difference,
            "spread": self.spread, "seeds": len(self.scores) or None, "n_scored": self.n_scored, "gmacs": self.gmacs,
            "printed_gmacs": row.gmacs if own else None, "macs_left": self.macs_left,
            "samples_per_second": self.samples_per_second,
            "printed_samples_per_second": row.speed if own else None, "speedup": self.speedup,
            "reduction_share": self.reduction_share, "not_run": self.reason or None,
        }  # fmt: skip
