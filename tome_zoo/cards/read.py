"""TOML files -> cards, with errors that name the file, the card and the field."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tome_zoo.cards.schema import BaselineCard, DatasetCard, ModelCard, ProtocolCard, RecipeCard, TableCard
from tome_zoo.errors import CardError

Card = ModelCard | BaselineCard | DatasetCard | ProtocolCard | RecipeCard | TableCard
TABLES: dict[str, type[Card]] = {
    "model": ModelCard,
    "baseline": BaselineCard,
    "dataset": DatasetCard,
    "protocol": ProtocolCard,
    "recipe": RecipeCard,
    "table": TableCard,
}
"""Name of a table of a TOML file -> what it holds."""


def read_folder(folder: Path) -> Iterator[tuple[Path, Card]]:
    """All cards of the `*.toml` files of a folder, with the file each came from, in the order of the file names."""
    for path in sorted(folder.glob("*.toml")):
        for card in read_file(path):
            yield path, card


def read_file(path: Path) -> list[Card]:
    """The cards of one file.

    Raises:
        CardError: If it is no TOML, has other tables than those of `TABLES`, or a card does not fit its schema; every
            fault is listed with its field.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not TOML: {error}") from None
    if unknown := sorted(set(data) - set(TABLES)):
        raise CardError(f"{path}: unknown table {unknown[0]!r}; a card is {table_names()}")
    cards: list[Card] = []
    for kind, schema in TABLES.items():
        tables = data.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise CardError(f"{path}: write [[{kind}]] with two brackets: a file may hold several")
        for number, table in enumerate(tables, start=1):
            try:
                cards.append(schema.model_validate(table, context={"folder": path.resolve().parent}))
            except ValidationError as error:
                name = table.get("name", f"number {number}")
                raise CardError(f"{path}: {kind} {name!r}: {describe_errors(error)}") from None
    return cards


def table_names() -> str:
    """The kinds of cards as TOML writes them, in words."""
    *first, last = (f"[[{kind}]]" for kind in TABLES)
    return f"{', '.join(first)} or {last}"


def describe_errors(error: ValidationError) -> str:
    """Every fault that pydantic found as `field 'a.b': what is wrong (got ...)`, in one line."""
    faults = []
    for fault in error.errors(include_url=False):
        field = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "unknown key"
        got = fault.get("input")
        shown = f" (got {got!r})" if isinstance(got, str | int | float | list) and fault["type"] != "missing" else ""
        faults.append((f"field {field!r}: " if field else "") + message + shown)
    return "; ".join(faults)
