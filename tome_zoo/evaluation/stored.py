"""What an evaluation has left, found again: its scores, and the data that they are of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tome_zoo import cards
from tome_zoo.data.dataset import Dataset, open_dataset
from tome_zoo.data.formats.split import Target
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation.results import RESULTS, Result, read_results
from tome_zoo.evaluation.score_store import read_class_names, read_scores


@dataclass(frozen=True)
class Stored:
    """Scores of a result whose samples the data set still has.

    Attributes:
        result: The result.
        ids: Of the samples.
        targets: Class or classes of each.
        scores: `[samples, classes]`.
        names: Of the classes.
        multi_label: Whether a sample may have several classes.
    """

    result: Result
    ids: tuple[str, ...]
    targets: tuple[Target, ...]
    scores: NDArray[Any]
    names: tuple[str, ...]
    multi_label: bool


def find_stored(folder: str | Path, *, model: str | None = None, r: str | None = None) -> Iterator[tuple[Result, Path]]:
    """Each result and the folder of its scores; of several results under one key the last one.

    Args:
        folder: In which `results.jsonl` and scores lie, here or below.
        model: Only results of that model.
        r: Only results at that r, as the command line writes it.

    Raises:
        DataError: If there are no such results, or scores are gone.
    """
    found = 0
    for path in sorted(Path(folder).rglob(RESULTS)):
        latest = {(result.model, result.r, result.key): result for result in read_results(path)}
        for result in latest.values():
            if (model is None or result.model == model) and (r is None or result.r == r):
                found += 1
                yield result, score_folder(path.parent, result)
    if not found:
        raise DataError(f"expected results{'' if model is None else f' of {model}'} below {folder}, found none")


def read_stored(folder: str | Path, *, model: str | None = None, r: str | None = None) -> Iterator[Stored]:
    """The scores of each result; arguments as of `find_stored`.

    Raises:
        DataError: If there are no such results, or their scores or data are gone.
    """
    for result, place in find_stored(folder, model=model, r=r):
        yield _read(result, place)


def _read(result: Result, folder: Path) -> Stored:
    ids, scores = read_scores(folder)
    data = open_scored(result, folder)
    targets = {sample.id: sample.target for sample in data.samples}
    known = [row for row, sample in enumerate(ids) if sample in targets]
    return Stored(
        result=result,
        ids=tuple(ids[row] for row in known),
        targets=tuple(targets[ids[row]] for row in known),
        scores=scores[known],
        names=class_names(data, scores.shape[1]),
        multi_label=data.card.multi_label,
    )


def score_folder(folder: Path, result: Result) -> Path:
    """Where the scores of a result lie, in a folder or below.

    Raises:
        DataError: If they do not.
    """
    places = sorted(folder.rglob(f"scores/*-{result.key}")) if result.key else []
    if not places:
        raise DataError(f"expected scores of {result.model} at r = {result.r} below {folder}, found none")
    return places[-1]


def open_scored(result: Result, scores: Path) -> Dataset:
    """The data set of a result where it lay, its classes in the order of the scores.

    Args:
        result: The result.
        scores: Folder of its scores.

    Raises:
        DataError: If it is gone, or of a card that is not at hand.
    """
    try:
        card = cards.dataset_card(result.dataset)
        if card.labels is None and (names := read_class_names(scores)):
            card = card.model_copy(update={"classes": names, "num_classes": len(names)})
        return open_dataset(result.root, card, result.split)
    except TomeZooError as error:
        raise DataError(f"targets of {result.model} are told by the data set, which is needed: {error}") from None


def class_names(dataset: Dataset, count: int) -> tuple[str, ...]:
    """Names of that many classes: the data set's if they are as many, else "class 0" and on."""
    return dataset.labels if len(dataset.labels) == count else tuple(f"class {index}" for index in range(count))
