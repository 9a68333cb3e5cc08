"""The samples whose prediction changes between r = 0 and an r."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tome_zoo.reports.page.scores import GroupScores


@dataclass(frozen=True)
class Change:
    """A sample whose prediction is another one once tokens merge.

    Attributes:
        row: Of the sample, in the scores.
        unmerged: Classes predicted at r = 0: the best one, or of a sample with k classes the best k.
        merged: The same at r.
        drop: How much probability its right classes have lost, on average.
        right_before: Whether all predicted classes were right at r = 0; `right_after` the same at r.
    """

    row: int
    unmerged: tuple[int, ...]
    merged: tuple[int, ...]
    drop: float
    right_before: bool
    right_after: bool

    @property
    def verdict(self) -> str:
        """What became of it: "lost", "gained" or "still wrong"."""
        if self.right_before:
            return "lost"
        return "gained" if self.right_after else "still wrong"


def find_changes(scores: GroupScores, r: str, metric: str) -> list[Change]:
    """The changes between r = 0 and an r, worst first: those that were right, then by the probability they lost."""
    unmerged, merged = scores.probabilities("0", metric), scores.probabilities(r, metric)
    changes = []
    for row, target in enumerate(scores.targets):
        if not target:
            continue
        before, after = best(unmerged[row], len(target)), best(merged[row], len(target))
        if set(before) != set(after):
            drop = float((unmerged[row] - merged[row])[list(target)].mean())
            right = set(target)
            changes.append(Change(row, before, after, drop, set(before) == right, set(after) == right))
    return sorted(changes, key=lambda change: (change.verdict != "lost", -change.drop))


def most_telling(changes_by_r: Sequence[list[Change]], n_samples: int, wanted: int) -> list[int]:
    """Rows of samples for a slider: those that change most, the worst first, then others spread over the data set."""
    rows = dict.fromkeys(change.row for changes in reversed(changes_by_r) for change in changes[:wanted])
    spread = np.linspace(0, n_samples - 1, num=min(wanted, n_samples)).round().astype(int).tolist()
    half = (wanted + 1) // 2
    return list(dict.fromkeys([*list(rows)[:half], *spread, *rows]))[:wanted]


def best(row: NDArray[np.float64], k: int) -> tuple[int, ...]:
    """The k classes with the highest scores, the best first; equal ones by index."""
    return tuple(int(index) for index in np.argsort(-row, kind="stable")[:k])
