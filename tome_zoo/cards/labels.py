"""Names of classes, from the files beside the data set cards."""

import csv
import json
from functools import lru_cache
from pathlib import Path

from tome_zoo.cards.catalogue import dataset_card
from tome_zoo.cards.schema import DatasetCard, ModelCard
from tome_zoo.errors import CardError


def labels(dataset: str) -> tuple[str, ...]:
    """Names of a data set's classes in the order of a model's outputs; empty when the card lists none.

    Raises:
        CardError: If there is no such data set, or its file is damaged.
    """
    return read_classes(dataset_card(dataset))[1]


def read_classes(card: DatasetCard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(identifiers, names) of the classes of a data set card; both empty where it lists none.

    Raises:
        CardError: If its file is missing or damaged.
    """
    if card.labels is None:
        return card.classes, card.classes
    return read_labels(card.labels, card.num_classes)


def model_labels(card: ModelCard) -> tuple[str, ...]:
    """Names of a model's outputs: its own classes, else the data set's where they are as many, else "class 0" and on.

    Raises:
        CardError: If the data set is unknown, or its file of names is damaged.
    """
    count = card.architecture.num_classes
    names = card.classes or labels(card.dataset)
    return names if len(names) == count else tuple(f"class {index}" for index in range(count))


def model_dataset(card: ModelCard, name: str | None = None) -> DatasetCard:
    """The data set card of a model, or the one of that name; if it leaves its classes open, with those of the model.

    Class folders are then matched with the model's classes by name, whichever of them a split holds.

    Raises:
        CardError: If the data set is unknown.
    """
    dataset = dataset_card(card.dataset if name is None else name)
    if not card.classes or dataset.labels is not None or dataset.classes or dataset.num_classes is not None:
        return dataset
    return dataset.model_copy(update={"classes": card.classes, "num_classes": len(card.classes)})


@lru_cache(maxsize=32)
def read_labels(path: Path, num_classes: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(identifiers, names) from a txt or json list of names, or a csv with header `index, identifier, display_name`.

    Raises:
        CardError: If the file is missing or damaged, or does not list `num_classes` classes (None: any number).
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            rows = list(csv.reader(text.splitlines()))[1:]
            if [row[0] for row in rows] != [str(index) for index in range(len(rows))]:
                raise ValueError("the first column must count from 0")
            identifiers, names = tuple(row[1] for row in rows), tuple(row[2] for row in rows)
        else:
            found = json.loads(text) if path.suffix == ".json" else text.splitlines()
            if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
                raise ValueError("expected a list of names")
            identifiers = names = tuple(found)
    except (OSError, ValueError, IndexError) as error:
        raise CardError(f"{path}: cannot read class names: {error}") from None
    if num_classes not in (None, len(names)):
        raise CardError(f"{path}: the card says {num_classes} classes, the file lists {len(names)}")
    if not all(names) or len(set(identifiers)) != len(identifiers):
        raise CardError(f"{path}: a class has no name, or two have the same identifier")
    return identifiers, names
