"""What merging costs each class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tome_zoo.evaluation import metrics
from tome_zoo.reports.page.scores import GroupScores

SHOWN = 5  # classes that lose most, and that gain most


class ClassCost(NamedTuple):
    """A class, unmerged and merged, in per cent: accuracy of its samples, or its average precision."""

    label: str
    n_samples: int
    unmerged: float
    merged: float

    @property
    def difference(self) -> float:
        """Merged less unmerged, in points of per cent."""
        return self.merged - self.unmerged


def class_costs(scores: GroupScores, r: str, metric: str, labels: Sequence[str]) -> list[ClassCost]:
    """Every class that has samples, those that lose most first.

    Args:
        scores: With "0" among its r.
        r: What r = 0 is compared with.
        metric: "top1" or "map".
        labels: Of the classes.
    """
    table = metrics.multi_hot(scores.targets, len(labels))
    unmerged, merged = (_by_class(scores.scores[key], table, metric) for key in ("0", r))
    counts = table.sum(axis=0).tolist()
    costs = [
        ClassCost(labels[c], counts[c], float(unmerged[c]), float(merged[c])) for c in range(len(labels)) if counts[c]
    ]
    return sorted(costs, key=lambda cost: cost.difference)


def most_changed(costs: Sequence[ClassCost]) -> list[ClassCost]:
    """Of the classes in the order of `class_costs` the five that lose most and the five that gain most."""
    if len(costs) <= 2 * SHOWN:
        return list(costs)
    return [*costs[:SHOWN], *costs[-SHOWN:]]


def _by_class(rows: NDArray[np.float64], table: NDArray[np.bool_], metric: str) -> NDArray[np.float64]:
    if metric == "map":
        return metrics.average_precisions(rows, table)
    return metrics.class_accuracies(rows, table.argmax(axis=1))
