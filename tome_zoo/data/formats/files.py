"""Files and folders as they lie on disk."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from tome_zoo.errors import DataError

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
VIDEOS = frozenset(
    {
        ".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg", ".m2v",
        ".vob", ".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".divx", ".mxf",
    }
)  # fmt: skip
SOUNDS = frozenset(
    {
        ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".webm", ".mkv", ".aac", ".aif", ".aiff", ".aifc",
        ".wma", ".caf", ".w64", ".au", ".snd", ".amr", ".ac3", ".mp2", ".mka", ".mov", ".wv", ".tta", ".oga", ".m4b",
        ".3gp", ".avi", ".flv", ".ape", ".weba",
    }
)  # fmt: skip
_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN"})


def files(folder: Path, endings: Collection[str] | None, *, deep: bool = True) -> Iterator[str]:
    """Paths of the files in a folder, relative to it, with forward slashes, in order; hidden ones are passed over.

    Args:
        folder: Where to look; links are followed, but not in circles.
        endings: In lower case, with the dot; None takes all files.
        deep: Whether to look into the folders below.
    """
    yield from _files(str(folder), "", endings, deep, ())


def _files(
    place: str, prefix: str, endings: Collection[str] | None, deep: bool, above: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    status = os.stat(place)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(place) as entries:
        found = sorted((entry for entry in entries if not _passed_over(entry.name)), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir():
            if deep:
                yield from _files(entry.path, f"{prefix}{entry.name}/", endings, deep, (*above, here))
        elif endings is None or os.path.splitext(entry.name)[1].lower() in endings:
            yield prefix + entry.name


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones, and those that systems leave behind, are passed over."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not _passed_over(entry.name) and entry.is_dir())


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS


def read_text(path: Path) -> str:
    """The content of a text file without byte order mark, line ends as they are.

    Raises:
        DataError: If it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected UTF-8 text") from None
