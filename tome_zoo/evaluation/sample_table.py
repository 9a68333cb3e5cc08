"""What a model said of each sample, from the scores that an evaluation has stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.stored import Stored, read_stored

COLUMNS = ("model", "r", "protocol", "id", "target", "prediction", "score", "correct")


def sample_rows(folder: str | Path, *, model: str | None = None, r: str | None = None) -> Iterator[dict[str, Any]]:
    """A row for each scored sample of each result, with the keys of `COLUMNS`.

    Args:
        folder: In which `results.jsonl` and scores lie, here or below.
        model: Only results of that model.
        r: Only results at that r, as the command line writes it.

    Yields:
        `target` and `prediction` are names of classes, several with "|" between; "prediction" is the class of the
        highest score, `score` its probability (softmax, or sigmoid where a sample may have several classes). "correct"
        says whether it is among the targets.

    Raises:
        DataError: If there are no such results, or their scores or data are gone.
    """
    for stored in read_stored(folder, model=model, r=r):
        yield from _rows_of(stored)


def _rows_of(stored: Stored) -> Iterator[dict[str, Any]]:
    result, names = stored.result, stored.names
    probabilities = _probabilities(stored.scores, stored.multi_label)
    for sample, target, row in zip(stored.ids, stored.targets, probabilities, strict=True):
        classes = (target,) if isinstance(target, int) else target
        best = int(row.argmax())
        yield {
            "model": result.model, "r": result.r, "protocol": result.protocol, "id": sample,
            "target": "|".join(names[index] for index in classes), "prediction": names[best],
            "score": float(row[best]), "correct": best in classes,
        }  # fmt: skip


def _probabilities(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Stored scores are logits, or the mean of softmaxes where a sample has several views."""
    if multi_label:
        return 1 / (1 + np.exp(-scores.astype(np.float64)))
    if scores.size and scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return scores
    return metrics.softmax(scores)
