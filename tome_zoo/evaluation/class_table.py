"""How well each class is told, from the scores that an evaluation has stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.results import Result
from tome_zoo.evaluation.score_store import read_scores
from tome_zoo.evaluation.stored import class_names, find_stored, open_scored

COLUMNS = ("model", "r", "protocol", "class", "samples", "accuracy", "average_precision", "auc", "d_prime")


def class_rows(folder: str | Path, *, model: str | None = None, r: str | None = None) -> Iterator[dict[str, Any]]:
    """A row for each class of each result that has samples, with the keys of `COLUMNS`; arguments as of `sample_rows`.

    Yields:
        In per cent "accuracy", where a sample has one class; or "average_precision" and "auc", where it may have
        several, with the "d_prime" of the latter. What does not exist is None.

    Raises:
        DataError: If there are no such results, or their scores or data are gone.
    """
    for result, scores in find_stored(folder, model=model, r=r):
        yield from _rows_of(result, scores)


def _rows_of(result: Result, folder: Path) -> Iterator[dict[str, Any]]:
    ids, scores = read_scores(folder)
    dataset = open_scored(result, folder)
    targets: dict[str, Any] = {sample.id: sample.target for sample in dataset.samples}
    known = [row for row, sample in enumerate(ids) if sample in targets]
    chosen, scores = [targets[ids[row]] for row in known], scores[known]
    figures: dict[str, Any]
    if dataset.card.multi_label:
        table = metrics.multi_hot(chosen, scores.shape[1])
        areas = metrics.aucs(scores, table)
        counts = table.sum(axis=0)
        figures = {
            "average_precision": metrics.average_precisions(scores, table),
            "auc": areas,
            "d_prime": np.array([metrics.d_prime(area) for area in areas]),
        }
    else:
        counts = np.bincount(chosen, minlength=scores.shape[1])
        figures = {"accuracy": metrics.class_accuracies(scores, chosen)}
    names = class_names(dataset, scores.shape[1])
    for c in np.flatnonzero(counts).tolist():
        told = {name: float(values[c]) for name, values in figures.items() if np.isfinite(values[c])}
        about = {"model": result.model, "r": result.r, "protocol": result.protocol}
        yield dict.fromkeys(COLUMNS) | about | {"class": names[c], "samples": int(counts[c])} | told
