"""JSON manifests of sounds, as AST and AudioMAE read them."""

import json
import re
from pathlib import Path
from typing import Any

from tome_zoo.data.formats.files import read_text
from tome_zoo.data.formats.split import Collector, Listing, Source
from tome_zoo.errors import DataError

ENDINGS = (".json",)


def find(source: Source) -> Path | None:
    """The manifest of the split, or the root where it is a file that is no csv."""
    if source.root.is_file():
        return None if source.root.suffix.lower() == ".csv" else source.root
    return source.first(source.lists(ENDINGS))


def expected(source: Source) -> str:
    """What was looked for."""
    names = " or ".join(source.lists(ENDINGS))
    return f'{names} with {{"data": [{{"wav": path relative to it, "labels": "id,id"}}, ...]}}'


def read(source: Source, place: Path) -> Listing:
    """Read a manifest, {"data": [{"wav": path, "labels": "id,id"}, ...]}; comment lines (`#`) may stand before it.

    Raises:
        DataError: If it is no such JSON, or an entry names no file, an unknown label or a file named before.
    """
    try:
        content: Any = json.loads(_without_comments(read_text(place)))
    except json.JSONDecodeError as error:
        raise DataError(f"{place}, line {error.lineno}: no valid JSON ({error.msg})") from None
    except RecursionError:
        raise DataError(f"{place}: no manifest, its JSON is nested too deeply") from None
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f'{place}: expected {{"data": [...]}}, got {type(content).__name__} without a list in "data"')
    samples = Collector(place, place.parent)
    for number, entry in enumerate(entries):
        where = f"data[{number}]"
        if not isinstance(entry, dict):
            raise DataError(f'{place}, {where}: expected {{"wav": ..., "labels": ...}}, got {entry!r}')
        for key in ("wav", "labels"):
            if not isinstance(entry.get(key), str) or (key == "wav" and not entry[key].strip()):
                raise DataError(f"{place}, {where}.{key}: expected a string, got {entry.get(key)!r}")
        samples.add(entry["wav"], source.classes.parse(entry["labels"], f"{place}, {where}.labels"), where)
    return Listing(samples.done('entries in "data"'), source.classes.names, samples.folders())


def _without_comments(text: str) -> str:
    """The text with the comment lines before it emptied, so that line numbers stay."""
    head = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*(?:[ \t]*#[^\n]*$)?", text)
    end = head.end() if head else 0
    return "\n" * text.count("\n", 0, end) + text[end:]
