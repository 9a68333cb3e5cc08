"""What a model said of each sample, from the scores that an evaluation has stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo import cards
from tome_zoo.data.dataset import Dataset, open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.results import RESULTS, Result, read_results
from tome_zoo.evaluation.score_store import read_scores

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
    found = 0
    for path in sorted(Path(folder).rglob(RESULTS)):
        for result in _latest(read_results(path)):
            if (model is None or result.model == model) and (r is None or result.r == r):
                found += 1
                yield from _rows_of(path.parent, result)
    if not found:
        raise DataError(f"expected results{'' if model is None else f' of {model}'} below {folder}, found none")


def _latest(results: list[Result]) -> list[Result]:
    """Of several results under one key the last one."""
    return list({(result.model, result.r, result.key): result for result in results}.values())


def _rows_of(folder: Path, result: Result) -> Iterator[dict[str, Any]]:
    places = sorted((folder / "scores").glob(f"*-{result.key}"))
    if not places or not result.key:
        raise DataError(f"expected scores of {result.model} at r = {result.r} in {folder / 'scores'}, found none")
    ids, scores = read_scores(places[-1])
    dataset = _dataset_of(result)
    targets = {sample.id: sample.target for sample in dataset.samples}
    known = [row for row, sample in enumerate(ids) if sample in targets]
    probabilities = _probabilities(scores[known], dataset.card.multi_label)
    for sample, row in zip([ids[row] for row in known], probabilities, strict=True):
        target = targets[sample]
        classes = (target,) if isinstance(target, int) else target
        best = int(row.argmax())
        yield {
            "model": result.model, "r": result.r, "protocol": result.protocol, "id": sample,
            "target": "|".join(_name(dataset, index) for index in classes), "prediction": _name(dataset, best),
            "score": float(row[best]), "correct": best in classes,
        }  # fmt: skip


def _dataset_of(result: Result) -> Dataset:
    try:
        return open_dataset(result.root, cards.dataset_card(result.dataset), result.split)
    except TomeZooError as error:
        raise DataError(f"targets of {result.model} are told by the data set, which is needed: {error}") from None


def _probabilities(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Stored scores are logits, or the mean of softmaxes where a sample has several views."""
    if multi_label:
        return 1 / (1 + np.exp(-scores.astype(np.float64)))
    if scores.size and scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return scores
    return metrics.softmax(scores)


def _name(dataset: Dataset, index: int) -> str:
    return dataset.labels[index] if index < len(dataset.labels) else f"class {index}"
