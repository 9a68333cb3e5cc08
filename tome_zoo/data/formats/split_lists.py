"""The split files of UCF101, HMDB51 and Speech Commands: files of each part by name, in folders of their classes."""

import re
from pathlib import Path, PurePosixPath

from tome_zoo.data.formats.files import read_text, subfolders
from tome_zoo.data.formats.split import Collector, Listing, Source
from tome_zoo.data.formats.video_list import lines
from tome_zoo.errors import DataError, printable

_UCF_LISTS = ("", "ucfTrainTestlist/", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist/", "annotations/")
_HMDB_LISTS = (
    "testTrainMulti_7030_splits",
    "test_train_splits/testTrainMulti_7030_splits",
    "splits",
    "annotations",
    ".",
)
_FILES = ("", "UCF-101", "UCF101", "hmdb51_org", "hmdb51", "HMDB51", "videos")
_HMDB_PART = re.compile(r"(?P<part>train|test)_split(?P<number>[0-9]+)")
_NO_CLASSES = ("_background_noise_",)  # Speech Commands' noise to mix with


def find_paths(source: Source) -> Path | None:
    """A list of `<class>/<file>` lines: UCF101's testlist01.txt, Speech Commands' testing_list.txt."""
    if source.root.is_file():
        return source.root if _is_list(source.root) else None
    names = [above + name for above in _UCF_LISTS for name in source.lists((".txt",))]
    return next((path for name in names if _is_list(path := source.root / name)), None)


def expected_paths(source: Source) -> str:
    """What was looked for."""
    return f"{' or '.join(source.lists(('.txt',)))} (also in ucfTrainTestlist/) with one `<class>/<file>` a line"


def read_paths(source: Source, place: Path) -> Listing:
    """The class of a file is the folder that it lies in; numbers behind the files, as UCF101's from 1, say no other.

    Classes are the card's, or those of a classInd.txt beside the list (`1 ApplyEyeMakeup`), or the folders, sorted.

    Raises:
        DataError: If a line is of no class, or the files of a folder have different numbers.
    """
    entries = [(f"line {number}", _path(line)) for number, line in lines(read_text(place))]
    pairs = {
        (PurePosixPath(_path(line)).parent, line.strip()[len(_path(line)) :]) for _, line in lines(read_text(place))
    }
    if len({folder for folder, _ in pairs}) != len(pairs):
        raise DataError(
            f"{place}: the files of one folder have different numbers, so that folders are no classes; if the numbers "
            "are, name the format video_list"
        )
    base = _base(source, place, [path for _, path in entries])
    names = source.classes.names or _names(place, base, {PurePosixPath(path).parent.name for _, path in entries})
    return _listing(
        source, place, base, names, [(path, PurePosixPath(path).parent.name, where) for where, path in entries]
    )


def find_hmdb(source: Source) -> Path | None:
    """The folder of `<class>_test_split1.txt` files."""
    if not source.root.is_dir() or (part := _hmdb_part(source)) is None:
        return None
    ending = f"*_test_split{part['number']}.txt"
    return next((source.root / name for name in _HMDB_LISTS if any((source.root / name).glob(ending))), None)


def expected_hmdb(source: Source) -> str:
    """What was looked for."""
    part = _hmdb_part(source)
    return f"testTrainMulti_7030_splits/<class>_test_split{part['number'] if part else 'N'}.txt, and <class>/<file>.avi"


def read_hmdb(source: Source, place: Path) -> Listing:
    """Lines are `<file> 1` (training), `<file> 2` (test) or `<file> 0` (in no part of this split).

    Raises:
        DataError: If a line is malformed or of no class.
    """
    part = _hmdb_part(source)
    if part is None:
        raise DataError(f"{place}: expected a split called train_split1, test_split1 or the like")
    wanted, tail = {"train": "1", "test": "2"}[part["part"]], f"_test_split{part['number']}.txt"
    entries, names = [], []
    for file in sorted(place.glob(f"*{tail}")):
        name = file.name.removesuffix(tail)
        names.append(name)
        for number, line in lines(read_text(file)):
            path, _, kind = line.strip().rpartition(" ")
            if not path or kind not in ("0", "1", "2"):
                raise DataError(f"{file}, line {number}: expected `file.avi` and 0, 1 or 2, got {line.strip()!r}")
            if kind == wanted:
                entries.append((f"{name}/{path.strip()}", name, f"{file.name}, line {number}"))
    base = _base(source, place, [path for path, _, _ in entries])
    return _listing(source, place, base, source.classes.names or tuple(names), entries)


def _listing(
    source: Source, place: Path, base: Path, names: tuple[str, ...], entries: list[tuple[str, str, str]]
) -> Listing:
    numbers = {name: number for number, name in enumerate(names)}
    samples = Collector(place, base)
    for path, name, where in entries:
        index = source.classes.find(name) if source.classes.names else numbers.get(name)
        if index is None:
            raise DataError(f"{place}, {where}: {name!r} is no class of data set {source.card.name}")
        samples.add(path, source.classes.target([index]), where)
    return Listing(samples.done("`<class>/<file>` lines"), tuple(map(printable, names)), samples.folders())


def _is_list(path: Path) -> bool:
    """Whether the first line of a text is `<folder>/<file>`, perhaps with a number behind it."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    first = next(lines(read_text(path)), (0, ""))[1]
    return len(PurePosixPath(_path(first)).parts) == 2 and bool(PurePosixPath(_path(first)).suffix)


def _path(line: str) -> str:
    return re.sub(r"\s+[0-9]+$", "", line.strip())


def _hmdb_part(source: Source) -> re.Match[str] | None:
    return next((match for stem in source.stems if (match := _HMDB_PART.fullmatch(stem))), None)


def _base(source: Source, place: Path, paths: list[str]) -> Path:
    """The folder that holds the class folders."""
    above = place if place.is_dir() else place.parent
    for folder in (source.folder, above, above.parent):
        for name in _FILES:
            if any((folder / name / path).is_file() for path in paths[:20]):
                return folder / name
    return source.folder


def _names(place: Path, base: Path, listed: set[str]) -> tuple[str, ...]:
    numbered = place.parent / "classInd.txt"
    if numbered.is_file():
        pairs = [line.split(maxsplit=1) for _, line in lines(read_text(numbered))]
        if not all(len(pair) == 2 and pair[0].isdigit() for pair in pairs):
            raise DataError(f"{numbered}: expected lines of a number and a class, as `1 ApplyEyeMakeup`")
        return tuple(name.strip() for _, name in sorted(pairs, key=lambda pair: int(pair[0])))
    lying = set(subfolders(base)) if any((base / name).is_dir() for name in listed) else set()
    return tuple(sorted(listed | (lying - set(_NO_CLASSES))))
