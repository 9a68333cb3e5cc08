"""By what a file that was replaced is told from the one that was scored."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

PART = 1 << 18  # bytes that are read of a large file: at its beginning, in its middle and at its end


class Stamp(NamedTuple):
    """What is noted of a file.

    Attributes:
        size: In bytes; -1 of one that is not there.
        changed: Time of the last change, in ns.
        digest: Of the content, 0 where it was not read: of all of it up to three parts, of larger files of their first,
            middle and last part.
    """

    size: int
    changed: int
    digest: int = 0


def stamp(path: Path, content: bool = True) -> Stamp:
    """The stamp of a file, with or without its content."""
    try:
        status = path.stat()
        digest = _digest(path, status.st_size) if content else 0
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate, which no file's name has
        return Stamp(-1, -1)
    return Stamp(status.st_size, status.st_mtime_ns, digest)


def is_unchanged(path: Path, before: Stamp) -> bool:
    """Whether a file is the one that was stamped, wherever it lay then: of the same size, and date or else content."""
    now = stamp(path, content=False)
    if now[:2] == before[:2]:
        return True
    return now.size == before.size and before.digest != 0 and stamp(path).digest == before.digest


def _digest(path: Path, size: int) -> int:
    if not path.is_file():
        return 0
    starts = [0] if size <= 3 * PART else [0, (size - PART) // 2, size - PART]
    found = hashlib.blake2b(digest_size=7)
    with path.open("rb") as file:
        for start in starts:
            file.seek(start, os.SEEK_SET)
            found.update(file.read(3 * PART if len(starts) == 1 else PART))
    return int.from_bytes(found.digest(), "big") or 1
