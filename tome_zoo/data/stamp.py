"""By what a file that was replaced is told from the one that was scored."""

from pathlib import Path

Stamp = tuple[int, int]
"""Size and time of change (ns) of a file; of one that is not there (-1, -1)."""


def stamp(path: Path) -> Stamp:
    """Size and time of change of a file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate, which no file's name has
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)
