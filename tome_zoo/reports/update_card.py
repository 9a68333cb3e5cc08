"""Write measured figures into a model's card: the one way in which a `[[model.measured]]` table comes to be."""

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tome_zoo import schedule
from tome_zoo.cards import Measured, ModelCard, card_folder, model_card
from tome_zoo.cards.read import read_folder
from tome_zoo.errors import CardError
from tome_zoo.evaluation.results import Result

CARD = re.compile(r"^\[\[(model|dataset|protocol)\]\]")
MEASURED = "[[model.measured]]"
KEYS = (
    "top1", "top5", "map", "gmacs", "samples_per_second", "protocol", "n_expected", "n_scored", "n_failed", "weights",
    "device", "dtype", "batch_size", "date",
)  # fmt: skip


def update_card(results: Sequence[Result], folders: Iterable[Path] = ()) -> Path:
    """Write results into the card of their model; figures of other weights and those measured anew are replaced.

    Args:
        results: Of one model.
        folders: Further folders of cards, beside those of the checkout.

    Returns:
        The file that was changed.

    Raises:
        CardError: If the results are of a limited run, or the card lies in an installed package.
    """
    for result in results:
        if result.limit is not None:
            raise CardError(f"a card states whole runs: {result.model} at r = {result.r} was limited")
    name = results[0].model
    path = _file_of(name, folders)
    fresh = [{"r": schedule.parse(result.r)[0], **_entries(result)} for result in results]
    kept = [
        figure.model_dump(exclude_none=True)
        for figure in model_card(name).measured
        if figure.weights == results[0].weights and _key(figure) not in {_key(result) for result in results}
    ]
    text = path.read_text(encoding="utf-8")
    changed = replace_measured(text, name, [*kept, *fresh])
    path.write_text(changed, encoding="utf-8")
    return path


def replace_measured(text: str, name: str, tables: Sequence[dict[str, Any]]) -> str:
    """The text of a file of cards with other `[[model.measured]]` tables for one model; all else stays as it is.

    Args:
        text: TOML.
        name: Of the model.
        tables: What each table holds.

    Raises:
        CardError: If the text has no such model, or is written in a way that this editor does not follow.
    """
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if CARD.match(line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
            end -= 1  # what stands above the next card belongs to it
        block = lines[start:end]
        if not block[0].startswith("[[model]]") or _name(block) != name:
            continue
        made = [line for table in tables for line in ("", MEASURED, *_toml(table))]
        new = "\n".join([*lines[:start], *_without_measured(block), *made, *lines[end:]]) + "\n"
        _check(text, new, name, len(tables))
        return new
    raise CardError(f"expected a [[model]] table with name = {name!r}, found none")


def _without_measured(block: Sequence[str]) -> list[str]:
    kept, inside = [], False
    for line in block:
        if line.startswith("["):
            inside = line.startswith(MEASURED)
        if not inside:
            kept.append(line)
    while not kept[-1].strip():
        kept.pop()
    return kept


def _name(block: Sequence[str]) -> str | None:
    for line in block:
        if found := re.match(r"""name\s*=\s*["']([^"']*)["']""", line):
            return found.group(1)
    return None


def _toml(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _check(old: str, new: str, name: str, count: int) -> None:
    """Refuse an edit that changed anything but the measured figures of that model."""
    fault = CardError(f"the card of {name!r} is written in an unusual way that cannot be edited: write plain tables")
    try:
        before, after = tomllib.loads(old), tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        raise fault from None
    for data in (before, after):
        for model in data["model"]:
            if model["name"] == name and len(model.pop("measured", [])) != count and data is after:
                raise fault
    if before != after:
        raise fault


def _file_of(name: str, folders: Iterable[Path]) -> Path:
    shipped = card_folder("models")
    for folder in (shipped, *folders):
        for path, card in read_folder(folder):
            if isinstance(card, ModelCard) and card.name == name:
                if folder == shipped and not (folder.parent / "pyproject.toml").is_file():
                    raise CardError(
                        f"{path} is part of an installed package: update cards in a checkout of the project"
                    )
                return path
    raise CardError(f"found no file with the card of {name!r}")


def _entries(result: Result) -> dict[str, Any]:
    values = {key: getattr(result, key) for key in KEYS} | {"version": result.versions.get("tome-zoo")}
    return {
        key: float(f"{value:.6g}") if isinstance(value, float) else value
        for key, value in values.items()
        if value is not None
    }


def _key(figure: Measured | Result) -> tuple[str, str, str | None]:
    r = figure.r if isinstance(figure, Result) else schedule.format(figure.r)
    return r, figure.protocol, figure.dtype
