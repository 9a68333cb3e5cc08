"""`path label` lists of videos, a line each, as SlowFast, MAE and VideoMAE read them."""

import re
from collections.abc import Iterator
from pathlib import Path

from tome_zoo.data.formats import csv_list, kinetics_csv
from tome_zoo.data.formats.files import read_text
from tome_zoo.data.formats.split import Collector, Listing, Source
from tome_zoo.errors import DataError

ENDINGS = (".csv", ".txt")

_LINE = re.compile(r"(?P<path>.*[^\s,]|)(?P<separator>\s*,\s*|\s+)(?P<label>[^\s,]+)", re.DOTALL)


def find(source: Source) -> Path | None:
    """The list of the split, or the root where it is a list; a table with a header is none."""
    path = source.root if source.root.is_file() else source.first(source.lists(ENDINGS))
    return None if path is None or kinetics_csv.is_annotation(path) or csv_list.is_table(path) else path


def expected(source: Source) -> str:
    """What was looked for."""
    return f"{' or '.join(source.lists(ENDINGS))} with one `path label` a line, paths relative to the list"


def read(source: Source, place: Path) -> Listing:
    """Read a list. Space, tab or comma stands between path and label; paths may hold them, quoted or not.

    Paths are relative to the list's folder; in double quotes a doubled quote stands for one, as in csv.

    Raises:
        DataError: If a line is malformed, its label out of range or its file named before.
    """
    count = source.card.num_classes or len(source.classes.names)
    samples = Collector(place, place.parent)
    for number, line in lines(read_text(place)):
        where = f"line {number}"
        parts = split_line(line)
        if parts is None:
            raise DataError(f"{place}, {where}: expected `path label`, got {line.strip()!r}")
        path, label = parts
        if not re.fullmatch(r"[0-9]{1,9}", label) or int(label) >= count:
            raise DataError(f"{place}, {where}: expected a label of 0 to {count - 1} at the end, got {label!r}")
        samples.add(path, source.classes.target([int(label)]), where)
    return Listing(samples.done("`path label` lines"), source.classes.names, samples.folders())


def lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that are not blank; only a line feed, or CR LF, ends one."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


def split_line(line: str) -> tuple[str, str] | None:
    """(path, label) of a line of a list; None where it has not both."""
    match = _LINE.fullmatch(line.strip())
    if match is None or not match["path"]:
        return None
    return _unquoted(match["path"]), _unquoted(match["label"])


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if len(text) > 2 and text[0] == text[-1] == '"' else text
