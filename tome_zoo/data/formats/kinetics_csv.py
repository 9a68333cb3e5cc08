"""Kinetics as the Common Visual Data Foundation hands it out: flat folders of clips, and the annotations as csv."""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from tome_zoo.data.formats.files import VIDEOS, files, read_text
from tome_zoo.data.formats.split import Classes, Collector, Listing, Source
from tome_zoo.errors import DataError

COLUMNS = ("label", "youtube_id", "time_start", "time_end")
REPLACEMENTS = "replacement/replacement_for_corrupted_k400"

_ENDINGS = (".csv", ".txt")
_STEM = re.compile(r"(?P<id>.+)_(?P<start>[0-9]+)_(?P<end>[0-9]+)", re.DOTALL)
_log = logging.getLogger(__name__)

Key = tuple[str, int, int]  # YouTube id, first and last second


@dataclass
class _Clips:
    """Files of clips by what their names say."""

    exact: dict[Key, str] = field(default_factory=dict)
    by_id: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str) -> None:
        stem = PurePath(path).stem
        match = _STEM.fullmatch(stem)
        if match:
            self.exact.setdefault((match["id"], int(match["start"]), int(match["end"])), path)
        self.by_id.setdefault(match["id"] if match else stem, []).append(path)

    def find(self, key: Key, rows: Mapping[str, int]) -> str | None:
        """The clip of a row; one that is called by its id alone, or by other seconds, where nothing else is meant."""
        if key in self.exact:
            return self.exact[key]
        others = self.by_id.get(key[0], [])
        return others[0] if len(others) == 1 and rows[key[0]] == 1 else None


def is_annotation(path: Path) -> bool:
    """Whether a file is a csv whose header has the columns of Kinetics' annotations."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader([file.readline(10_000)]), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {"youtube_id", "time_start"} <= {name.strip().lower() for name in header}


def find(source: Source) -> Path | None:
    """The annotations of the split, or the root where it is such a file."""
    if source.root.is_file():
        return source.root if is_annotation(source.root) else None
    for name in _lists(source):
        if (path := source.root / name).is_file() and is_annotation(path):
            return path
    return None


def expected(source: Source) -> str:
    """What was looked for."""
    stem = source.stems[0]
    return (
        f"{' or '.join(_lists(source))} with the header label,youtube_id,time_start,time_end,split, and its clips "
        f"<youtube_id>_<start>_<end>.mp4 (seconds, six digits each) in {stem}/ or videos/{stem}/"
    )


def read(source: Source, place: Path) -> Listing:
    """Read the annotations and look for their clips, in the split's folder and all folders below it.

    A clip that lies in `replacement/replacement_for_corrupted_k400` is taken from there. A row without a clip is a
    sample all the same, of the file that should be there, so that it counts as missing.

    Raises:
        DataError: If the card names no classes, columns are missing, or a row is malformed or of an unknown class.
    """
    classes = source.classes
    if not classes.names:
        raise DataError(
            f"{place}: it names classes, but card {source.card.name} does not say which number each has; write a list "
            "with one `path label` a line (video_list), or set labels on a card of your own"
        )
    rows = _rows(place, classes)
    root = source.root if source.root.is_dir() else place.parent
    root = root.parent if source.root.is_file() and root.name == "annotations" else root
    folders = [folder for stem in source.stems for folder in (root / stem, root / "videos" / stem) if folder.is_dir()]
    clips = _scan(root, folders or [root], deep=bool(folders))
    replaced = _scan(root, [root / REPLACEMENTS])
    per_id = Counter(key[0] for key, _, _ in rows)
    home = (folders[0] if folders else root).relative_to(root)
    samples = Collector(place, root)
    count = 0
    for key, target, where in rows:
        instead = replaced.find(key, per_id)
        count += instead is not None
        file = instead or clips.find(key, per_id) or (home / f"{key[0]}_{key[1]:06d}_{key[2]:06d}.mp4").as_posix()
        samples.add(file, target, where, again=True)
    if count:
        _log.info("%s: %d clips are taken from %s", place, count, REPLACEMENTS)
    return Listing(samples.done("rows below the header"), classes.names, tuple(folders or [root]))


def _lists(source: Source) -> tuple[str, ...]:
    return tuple(folder + name for folder in ("annotations/", "") for name in source.lists(_ENDINGS))


def _scan(root: Path, folders: list[Path], deep: bool = True) -> _Clips:
    clips = _Clips()
    for folder in folders:
        if folder.is_dir():
            below = folder.relative_to(root)
            for name in files(folder, VIDEOS, deep=deep):
                clips.add((below / name).as_posix())
    return clips


def _rows(place: Path, classes: Classes) -> list[tuple[Key, int | tuple[int, ...], str]]:
    reader = csv.reader(io.StringIO(read_text(place), newline=""))
    header = [name.strip().lower() for name in next(reader, [])]
    if missing := [name for name in COLUMNS if name not in header]:
        raise DataError(f"{place}, line 1: expected columns {', '.join(COLUMNS)}; {', '.join(missing)} not there")
    columns = [header.index(name) for name in COLUMNS]
    rows = []
    try:
        for row in reader:
            where = f"line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) <= max(columns):
                raise DataError(f"{place}, {where}: expected {len(header)} columns, got {len(row)}: {','.join(row)!r}")
            label, clip, *times = (row[column].strip() for column in columns)
            index = classes.find(label)
            if index is None:
                raise DataError(f"{place}, {where}: {label!r} is no class of data set {classes.card.name}")
            if not re.fullmatch(r"[\w-]+", clip) or not all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", t) for t in times):
                raise DataError(
                    f"{place}, {where}: expected a YouTube id and seconds, got {', '.join((clip, *times))!r}"
                )
            start, end = (int(float(time)) for time in times)
            rows.append(((clip, start, end), classes.target([index]), where))
    except csv.Error as error:
        raise DataError(f"{place}, line {reader.line_num}: no valid csv ({error})") from None
    return rows
