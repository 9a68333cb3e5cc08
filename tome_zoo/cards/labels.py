"""Names of classes, from the files beside the data set cards."""

import csv
import json
from functools import lru_cache
from pathlib import Path

from tome_zoo.cards.catalogue import dataset_card
from tome_zoo.cards.schema import DatasetCard, ModelCard
from tome_zoo.errors import CardError

_NAMES = ("display_name", "name", "label", "class", "category", "class_name")
"""Headers of the column of names; without one of them it is the last."""


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
    """(identifiers, names) from a txt or json list of names, or a csv or tsv of numbers, names and perhaps identifiers.

    Its columns and rows may stand in any order, with or without a header (`index, mid, display_name`); numbers count
    from 0 or from 1.

    Raises:
        CardError: If the file is missing or damaged, or does not list `num_classes` classes (None: any number).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() in (".csv", ".tsv"):
            identifiers, names = _from_table(text, "\t" if path.suffix.lower() == ".tsv" else ",")
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


def _from_table(text: str, separator: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(identifiers, names) of a table in which one column numbers the classes."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    numbered = _numbered(rows)
    header: list[str] = []
    if numbered is None and rows:
        header = [cell.lower() for cell in rows.pop(0)]
        numbered = _numbered(rows)
    if numbered is None:
        raise ValueError("expected a column that numbers the classes from 0 or 1, each once, beside their names")
    first = min(int(row[numbered]) for row in rows)
    ordered: list[list[str]] = [[] for _ in rows]
    for row in rows:
        ordered[int(row[numbered]) - first] = row
    others = [column for column in range(len(rows[0])) if column != numbered]
    if not others:
        raise ValueError("expected names beside the numbers")
    name = next((column for column in others if header and header[column] in _NAMES), others[-1])
    identifier = next((column for column in others if column != name), name)
    return tuple(row[identifier] for row in ordered), tuple(row[name] for row in ordered)


def _numbered(rows: list[list[str]]) -> int | None:
    """The column that counts the rows from 0 or 1, in any order."""
    for column in range(len(rows[0]) if rows else 0):
        cells = [row[column] for row in rows]
        if all(cell.isascii() and cell.isdigit() for cell in cells):
            numbers = sorted(map(int, cells))
            if numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(rows))):
                return column
    return None
