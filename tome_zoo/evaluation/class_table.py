"""How well each class is told, from the scores that an evaluation has stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.stored import Stored, read_stored

COLUMNS = ("model", "r", "protocol", "class", "samples", "accuracy", "average_precision", "auc", "d_prime")


def class_rows(folder: str | Path, *, model: str | None = None, r: str | None = None) -> Iterator[dict[str, Any]]:
    """A row for each class of each result that has samples, with the keys of `COLUMNS`; arguments as of `sample_rows`.

    Yields:
        In per cent "accuracy", where a sample has one class; or "average_precision" and "auc", where it may have
        several, with the "d_prime" of the latter. What does not exist is None.

    Raises:
        DataError: If there are no such results, or their scores or data are gone.
    """
    for stored in read_stored(folder, model=model, r=r):
        yield from _rows_of(stored)


def _rows_of(stored: Stored) -> Iterator[dict[str, Any]]:
    result, scores = stored.result, stored.scores
    targets: Any = stored.targets  # of one class each, or of several
    figures: dict[str, Any]
    if stored.multi_label:
        table = metrics.multi_hot(targets, scores.shape[1])
        areas = metrics.aucs(scores, table)
        counts = table.sum(axis=0)
        figures = {
            "average_precision": metrics.average_precisions(scores, table),
            "auc": areas,
            "d_prime": np.array([metrics.d_prime(area) for area in areas]),
        }
    else:
        counts = np.bincount(targets, minlength=scores.shape[1])
        figures = {"accuracy": metrics.class_accuracies(scores, targets)}
    for c in np.flatnonzero(counts).tolist():
        told = {name: float(values[c]) for name, values in figures.items() if np.isfinite(values[c])}
        about = {"model": result.model, "r": result.r, "protocol": result.protocol}
        yield dict.fromkeys(COLUMNS) | about | {"class": stored.names[c], "samples": int(counts[c])} | told
