"""Files that appear whole under their name or not at all, and locks among the processes that write one."""

import contextlib
import csv
import errno
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Write a file beside its place and rename it at the end of the `with` block.

    A reader sees the old file or the new one, whatever stops the writer; of several writers the last one wins. If the
    block raises, the old file stays. A symbolic link stays a link. Folders are made if need be.

    Args:
        path: The file.
        mode: "w" for UTF-8 text with the line ends that are written, "wb" for bytes.

    Yields:
        The open file.

    Raises:
        OSError: If it cannot be written.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex[:8]}.part")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(partial, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk is told without the place
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise


def write_csv(file: IO[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a header and a line for each row; nothing where a row has no value, or None."""
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], timeout: float = 120.0) -> Iterator[None]:
    """Keep other processes that ask the same from a file for a while.

    Where the file system knows no locks, or the lock cannot be written, the block runs without one.

    Args:
        path: The file; the lock is a hidden file beside it.
        timeout: Seconds to wait for another process.

    Raises:
        OSError: If another process does not let go.
    """
    target = Path(path)
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise OSError(
            errno.EBUSY, f"held by another process for {timeout:g} s (lock {lock.lock_file})", str(path)
        ) from None
    except (NotImplementedError, OSError):
        yield
        return
    try:
        yield
    finally:
        lock.release()
