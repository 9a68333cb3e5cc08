"""Tables of files and their classes, csv or tsv with a header; of long files also from when to when."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tome_zoo.data.formats.files import read_text
from tome_zoo.data.formats.split import Collector, Listing, Source, Target
from tome_zoo.errors import DataError, printable
from tome_zoo.modalities.inputs import Span

ENDINGS = (".csv", ".tsv")
COLUMNS = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "fname",
        "image",
        "video",
        "audio",
        "wav",
    ),
    "name": ("label", "labels", "class", "class_name", "classname", "category", "label_name", "target", "class_id"),
    "number": ("target", "class_id", "classid", "label_id", "label_index", "index"),
    "start": ("start", "start_time", "time_start", "start_seconds", "onset"),
    "end": ("end", "end_time", "time_end", "end_seconds", "offset"),
    "split": ("split", "subset", "set"),
}
"""What a column is for, and how people call it; the first that is there counts."""

_BESIDE = ("", "audio", "audios", "wav", "videos", "clips", "images", "data")


@dataclass(frozen=True)
class Row:
    """A line of a table; `number` is that of its class where a column tells it beside the name."""

    path: str
    label: str
    number: str
    span: Span | None
    where: str


def is_table(path: Path) -> bool:
    """Whether a file is a csv or tsv whose header has a column of files and one of classes."""
    if path.suffix.lower() not in ENDINGS:
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = _columns(next(csv.reader([file.readline(10_000)], delimiter=_separator(path)), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {"path", "name"} <= columns.keys()


def find(source: Source) -> Path | None:
    """The table of the split, or the root where it is one."""
    if source.root.is_file():
        return source.root if is_table(source.root) else None
    return next((path for name in source.lists(ENDINGS) if is_table(path := source.root / name)), None)


def expected(source: Source) -> str:
    """What was looked for."""
    return (
        f"{' or '.join(source.lists(ENDINGS))} with a header that has the columns path and label, perhaps start, end "
        "(seconds) and split"
    )


def read(source: Source, place: Path) -> Listing:
    """Read a table. Classes are names or numbers; the card's, or where it has none, those of the table.

    Those of the training table beside it are taken together with them, names in sorted order unless a column numbers
    them. Files are looked for relative to the table and in folders beside it that are called audio, videos and so on.

    Raises:
        DataError: If a row is malformed, of no class, or names a stretch twice.
    """
    rows = _rows(place, source)
    base = _base(place, [row.path for row in rows])
    classes = source.classes
    if classes.names:
        targets = [_target(source, row, place) for row in rows]
        labels = classes.names
    else:
        training = [
            path for name in source.training(ENDINGS) if is_table(path := source.folder / name) and path != place
        ]
        numbers, labels = _own_classes([*rows, *(row for path in training for row in _rows(path, source, None))], place)
        targets = [numbers[row.label] for row in rows]
    samples = Collector(place, base)
    for row, target in zip(rows, targets, strict=True):
        samples.add(row.path, target, row.where, span=row.span)
    return Listing(samples.done("rows below the header"), labels, samples.folders())


def _rows(place: Path, source: Source, split: str | None = "") -> list[Row]:
    """Rows of a table; where it has a column of splits, those of the source's (None: all)."""
    reader = csv.reader(io.StringIO(read_text(place), newline=""), delimiter=_separator(place))
    rows: list[Row] = []
    try:
        header = next(reader, [])
        columns = _columns(header)
        for cells in reader:
            where = f"line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(f"{place}, {where}: expected {len(header)} columns, got {len(cells)}")
            value = {kind: cells[column].strip() for kind, column in columns.items()}
            if not value["path"] or not value["name"]:
                raise DataError(f"{place}, {where}: expected a file and its class, got {', '.join(cells)!r}")
            if split is None or value.get("split", source.split) in (*source.stems, source.split):
                span = _span(value, f"{place}, {where}")
                rows.append(Row(value["path"], value["name"], value.get("number", ""), span, where))
    except csv.Error as error:
        raise DataError(f"{place}, line {reader.line_num}: no valid csv ({error})") from None
    return rows


def _columns(header: Iterable[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    found = {}
    for kind, known in COLUMNS.items():
        name = next((name for name in known if name in names), None)
        if name is not None:
            found[kind] = names.index(name)
    if found.get("number") == found.get("name"):
        found.pop("number", None)
    return found


def _span(value: dict[str, str], where: str) -> Span | None:
    start, end = value.get("start", ""), value.get("end", "")
    if not start and not end:
        return None
    try:
        span = Span(float(start or 0), float(end or "inf"))
    except ValueError:
        span = Span(0, 0)
    if not (0 <= span.start < span.end and math.isfinite(span.start)):
        raise DataError(f"{where}: expected start and end in seconds, the end later, got {start!r} and {end!r}")
    return span


def _target(source: Source, row: Row, place: Path) -> Target:
    classes, count = source.classes, source.card.num_classes or len(source.classes.names)
    index = classes.find(row.label)
    if index is None and row.label.isascii() and row.label.isdigit() and int(row.label) < count:
        index = int(row.label)
    if index is not None:
        return classes.target([index])
    return classes.parse(row.label.replace(";", ",").replace("|", ","), f"{place}, {row.where}")


def _own_classes(rows: list[Row], place: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Label -> number of its class, and the names of all: by their numbers where the table has them, else sorted."""
    labels = sorted({row.label for row in rows})
    if all(label.isascii() and label.isdigit() for label in labels):
        highest = max(map(int, labels))
        if highest > 100_000:
            raise DataError(f"{place}: a class has the number {highest}; number them from 0, or give their names")
        return {label: int(label) for label in labels}, tuple(map(str, range(highest + 1)))
    pairs = {(row.label, row.number) for row in rows}
    numbers = {label: int(number) for label, number in pairs if number.isascii() and number.isdigit()}
    if len(pairs) == len(labels) and sorted(numbers.values()) == list(range(len(labels))):
        return numbers, tuple(printable(label) for label in sorted(numbers, key=lambda label: numbers[label]))
    return {label: number for number, label in enumerate(labels)}, tuple(map(printable, labels))


def _base(place: Path, paths: list[str]) -> Path:
    """The folder that the first files are relative to."""
    for folder in (place.parent, place.parent.parent):
        for name in (*_BESIDE, place.stem):
            if any((folder / name / path).is_file() for path in paths[:20]):
                return folder / name
    return place.parent


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
