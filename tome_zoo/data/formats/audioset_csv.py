"""AudioSet's own segment lists, and a folder of sounds that are called by segment."""

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath

from tome_zoo.data.formats.files import SOUNDS, files, read_text
from tome_zoo.data.formats.split import Collector, Listing, Source, Target
from tome_zoo.errors import DataError

ENDINGS = (".csv",)
TEMPLATES = (
    "{ytid}_{start}",
    "{ytid}",
    "Y{ytid}",
    "{ytid}_{start_s}",
    "{ytid}_{start_ms}",
    "{ytid}_{start}_{end}",
    "{ytid}_{start_s}_{end_s}",
    "{ytid}_{start_ms}_{end_ms}",
    "{ytid}_{start_s:06d}",
    "{ytid}_{start_s:06d}_{end_s:06d}",
    "Y{ytid}_{start}_{end}",
    "Y{ytid}_{start_s}_{end_s}",
    "Y{ytid}_{start_ms}_{end_ms}",
    "{ytid}_{start_float}-{end_float}",
    "{ytid}_{start_s}-{end_s}",
    "{ytid}_{start_float}",
    "{ytid}_{start_float}_{end_float}",
)
"""How files are called, in the order tried: AST's way first; seconds as the csv writes them (30.000), whole, in ms,
and as Python writes them (30.0, the downloader `audioset-download`)."""

_ABOVE = ("", "audio/", "audios/", "sounds/", "wav/", "flac/", "segments/")
_PARTS = re.compile(r"_segments$|^unbalanced_|^balanced_")


@dataclass(frozen=True)
class _Segment:
    ytid: str
    start: str
    end: str
    target: Target
    where: str

    def fields(self) -> dict[str, str | int]:
        """What names of files are made of."""
        start, end = float(self.start), float(self.end)
        return {
            "ytid": self.ytid, "start": self.start, "end": self.end, "start_s": int(start), "end_s": int(end),
            "start_ms": round(1000 * start), "end_ms": round(1000 * end),
            "start_float": str(start), "end_float": str(end),
        }  # fmt: skip


def find(source: Source) -> Path | None:
    """The segment list of the split, or the root where it is a csv."""
    if source.root.is_file():
        return source.root if source.root.suffix.lower() == ".csv" else None
    return source.first(source.lists(ENDINGS))


def expected(source: Source) -> str:
    """What was looked for."""
    names = " or ".join(source.lists(ENDINGS))
    return (
        f'{names} with rows `YTID, start, end, "mid,mid"`, and sounds <YTID>_<start>.flac or the like in folders beside'
    )


def read(source: Source, place: Path) -> Listing:
    """Read a segment list and look for its sounds, by the card's `name_template` or by `TEMPLATES`.

    They are looked for in the folder that is called as the list or the split (also below audio/ and the like), or,
    without one, in the whole root. A segment without a file is a sample all the same, so that it counts as missing.

    Raises:
        DataError: If a row is malformed, or of an unknown class.
    """
    segments = _segments(source, place)
    root = source.folder
    named = _folders(source, place, root)
    folders = named or [root]
    lying: dict[str, str] = {}  # name without ending -> path relative to the root
    for folder in folders:
        below = folder.relative_to(root)
        for name in files(folder, SOUNDS):
            lying.setdefault(_stem(name), (below / name).as_posix())
    templates = TEMPLATES if source.card.name_template is None else (source.card.name_template,)
    found: list[str | None] = []
    used: Counter[str] = Counter()
    for segment in segments:
        fields = segment.fields()
        template = next((item for item in templates if item.format_map(fields) in lying), None)
        found.append(None if template is None else lying[template.format_map(fields)])
        if template is not None:
            used[template] += 1
    usual = used.most_common(1)[0][0] if used else templates[0]
    home, ending = _usual([path for path in found if path is not None], folders[0].relative_to(root).as_posix())
    samples = Collector(place, root)
    for segment, path in zip(segments, found, strict=True):
        missing = f"{home}/{usual.format_map(segment.fields())}{ending}"
        samples.add(path or missing, segment.target, segment.where, again=True)
    return Listing(
        samples.done('rows `YTID, start, end, "mid,mid"`'), source.classes.names, tuple(named) or samples.folders()
    )


def _segments(source: Source, place: Path) -> list[_Segment]:
    reader = csv.reader(io.StringIO(read_text(place), newline=""), skipinitialspace=True)
    segments: list[_Segment] = []
    try:
        for row in reader:
            where = f"line {reader.line_num}"
            if not "".join(row).strip() or row[0].startswith("#"):
                continue
            cells = [cell.strip() for cell in row]
            if not segments and cells[0].lower() in ("ytid", "youtube_id"):
                continue  # a header that is not commented out
            times = [re.fullmatch(r"[0-9]{1,7}(\.[0-9]*)?", cell) for cell in cells[1:3]]
            if len(cells) < 4 or not re.fullmatch(r"[\w-]+", cells[0]) or not all(times):
                raise DataError(
                    f'{place}, {where}: expected `YTID, start, end, "mid,mid"` with seconds, got {", ".join(row)!r}'
                )
            target = source.classes.parse(",".join(cells[3:]), f"{place}, {where}")
            segments.append(_Segment(cells[0], cells[1], cells[2], target, where))
    except csv.Error as error:
        raise DataError(f"{place}, line {reader.line_num}: no valid csv ({error})") from None
    return segments


def _folders(source: Source, place: Path, root: Path) -> list[Path]:
    stems = dict.fromkeys((place.stem, *source.stems))
    stems |= dict.fromkeys(_PARTS.sub("", stem) for stem in stems if _PARTS.sub("", stem))
    return [root / above / stem for stem in stems for above in _ABOVE if (root / above / stem).is_dir()]


def _stem(name: str) -> str:
    return PurePath(name).stem


def _usual(paths: list[str], home: str) -> tuple[str, str]:
    """Folder and ending that most files have; for a file that is missing."""
    folders = Counter(PurePath(path).parent.as_posix() for path in paths)
    endings = Counter(PurePath(path).suffix for path in paths)
    return (folders.most_common(1)[0][0] if paths else home, endings.most_common(1)[0][0] if paths else ".wav")
