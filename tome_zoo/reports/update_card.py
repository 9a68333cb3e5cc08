"""Write measured figures into a model's card: the one way in which a `[[model.measured]]` table comes to be."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT, Table

from tome_zoo import schedule
from tome_zoo.cards import Measured, card_file, card_folder, reload_cards
from tome_zoo.errors import CardError
from tome_zoo.evaluation.results import Result

HEADER = re.compile(r"^\[\[(model|dataset|protocol)\]\]", re.MULTILINE)
KEYS = (
    "top1", "top5", "map", "gmacs", "samples_per_second", "protocol", "n_expected", "n_scored", "n_failed", "weights",
    "device", "dtype", "batch_size", "date",
)  # fmt: skip


def update_card(results: Sequence[Result]) -> Path:
    """Write results into the card of their model; figures of other weights and those measured anew are replaced.

    Args:
        results: Of one model.

    Returns:
        The file that was changed.

    Raises:
        CardError: If the results are of a limited run, or the card lies in an installed package.
    """
    for result in results:
        if result.limit is not None:
            raise CardError(f"a card states whole runs: {result.model} at r = {result.r} was limited")
    path = card_file(results[0].model)
    if path.parent == card_folder("models") and not (path.parents[1] / "pyproject.toml").is_file():
        raise CardError(f"{path} is part of an installed package: update cards in a checkout of the project")
    text = path.read_text(encoding="utf-8")
    path.write_text(with_measured(text, results), encoding="utf-8")
    reload_cards()
    return path


def with_measured(text: str, results: Sequence[Result]) -> str:
    """The text of a file of cards with results among the `[[model.measured]]` tables of their model.

    All else stays as it is, comments and order included.

    Args:
        text: TOML.
        results: Of one model.

    Raises:
        CardError: If the text has no such model.
    """
    text = text if text.endswith("\n") else text + "\n"
    starts = [found.start() for found in HEADER.finditer(text) if _is_toml(text[: found.start()])]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        document = tomlkit.parse(text[start:end])
        for model in document.get("model", []):
            if model["name"] == results[0].model:
                _replace_measured(model, results)
                return text[:start] + document.as_string() + text[end:]
    raise CardError(f"expected a [[model]] table with name = {results[0].model!r}, found none")


def _replace_measured(model: Table, results: Sequence[Result]) -> None:
    end = _take_end(model)  # what stands above the next card belongs to it
    old = model.get("measured", [])
    replaced = {_key(result) for result in results}
    kept = [table for table in old if _is_kept(Measured.model_validate(table.unwrap()), results[0].weights, replaced)]
    model.pop("measured", None)
    measured = tomlkit.aot()
    for table in [*kept, *map(_table, results)]:
        _take_end(table)
        table.trivia.indent = "\n"
        measured.append(table)
    _take_end(model)
    model.append("measured", measured)
    for item in end:
        _last(model).add(item)


def _is_kept(figure: Measured, weights: str, replaced: set[tuple[str, str, str | None]]) -> bool:
    return figure.weights == weights and _key(figure) not in replaced


def _table(result: Result) -> Table:
    (r,) = schedule.parse(result.r)
    values = {"r": r} | {key: getattr(result, key) for key in KEYS} | {"version": result.versions.get("tome-zoo")}
    table = tomlkit.table()
    for key, value in values.items():
        if value is not None:
            rounded = float(f"{value:.6g}") if isinstance(value, float) else value
            table.add(key, list(rounded) if isinstance(rounded, tuple) else rounded)
    return table


def _take_end(table: Table) -> list[Any]:
    """Take away the comments and empty lines at the end of a table, those of the last table inside it."""
    body = _last(table).value.body
    taken: list[Any] = []
    while body and body[-1][0] is None:
        taken.insert(0, body.pop()[1])
    return taken


def _last(table: Table) -> Table:
    """The table inside a table that ends last in the text: itself, if it has none."""
    for key, item in reversed(table.value.body):
        if key is not None:
            if isinstance(item, AoT):
                return _last(item[-1])
            return _last(item) if isinstance(item, Table) else table
    return table


def _is_toml(text: str) -> bool:
    """False where the text ends inside a string of several lines."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _key(figure: Measured | Result) -> tuple[str, str, str | None]:
    r = figure.r if isinstance(figure, Result) else schedule.format(figure.r)
    return r, figure.protocol, figure.dtype
