"""One file over HTTP: resumed where it broke off, never half there under its final name."""

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from tome_zoo.errors import CheckpointError
from tome_zoo.weights import google_drive
from tome_zoo.weights.connection import (
    HEADERS,
    InterruptedDownloadError,
    StaleError,
    UnreachableError,
    open_url,
    validators_of,
)
from tome_zoo.weights.url import Url, parse

log = logging.getLogger(__name__)

DownloadProgress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, if the server says so, the bytes there will be."""

CHUNK = 2**20  # bytes
ATTEMPTS = 5  # in a row that bring nothing
PAUSE = 1.0  # s before the second attempt; doubled before each further one
MAX_WAIT = 300.0  # s that a server may ask to wait
MAX_FILE = 32 * 2**30  # bytes


@contextlib.contextmanager
def download_bar(title: str) -> Iterator[DownloadProgress]:
    """A bar on stderr if that is a terminal; yields what to call with the bytes there are and those there will be."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def download(url: Url, target: Path, *, progress: DownloadProgress | None = None) -> tuple[Path, dict[str, str]]:
    """Fetch a file into `<target>.part`, going on from what an earlier attempt left there.

    A connection that breaks off is taken up again, `ATTEMPTS` times in a row without a new byte; a server that asks to
    come again later is obeyed. A server that does not answer at all is given up at once.

    Returns:
        The complete part file, which the caller checks and renames; and what the server said of its version: `etag`,
        `modified`, empty where it said nothing.

    Raises:
        CheckpointError: If the server cannot be reached or refuses, sends a web page, or more than the disk holds.
        OSError: If the folder cannot be written.
    """
    part, note = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures, answered = 0, False
    while True:
        before = _length(part)
        try:
            validators = _attempt(url, part, note, progress)
            note.unlink(missing_ok=True)
            return part, validators
        except InterruptedDownloadError as error:
            if isinstance(error, StaleError):
                part.unlink(missing_ok=True)
            answered = answered or not isinstance(error, UnreachableError)
            failures = 1 if _length(part) > before else failures + 1
            log.info("download of %s interrupted: %s", url, error)
            if not answered:
                raise CheckpointError(f"{url} cannot be reached: {error}") from None
            if failures >= ATTEMPTS or error.wait > MAX_WAIT:
                later = f"; the server asks to come again in {error.wait:.0f} s" if error.wait else ""
                raise CheckpointError(f"{url} could not be fetched: {error}{later}") from None
            time.sleep(max(PAUSE * 2 ** (failures - 1), error.wait))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(url: Url, part: Path, note: Path, progress: DownloadProgress | None) -> dict[str, str]:
    headers, noted = dict(HEADERS), _read_note(url, note)
    have = _length(part) if noted is not None else 0
    if have and noted is not None:
        headers["Range"] = f"bytes={have}-"
        if noted["validator"]:
            headers["If-Range"] = noted["validator"]
    with contextlib.ExitStack() as stack:
        response = stack.enter_context(open_url(url, headers))
        if response.headers.get_content_type() == "text/html":
            link = google_drive.confirmed_link(response) if google_drive.is_drive(url.request) else None
            if link is None:
                raise CheckpointError(f"{url} answered with a web page, not with a file: fetch it by hand in a browser")
            response = stack.enter_context(open_url(parse(link), headers))
            if response.headers.get_content_type() == "text/html":
                raise CheckpointError(f"{url} keeps answering with a web page: fetch it by hand in a browser")
        _save(url, response, part, note, have, noted, progress)
        return validators_of(response)


def _save(
    url: Url,
    response: Any,
    part: Path,
    note: Path,
    have: int,
    noted: dict[str, Any] | None,
    progress: DownloadProgress | None,
) -> None:
    resumed = response.status == 206
    have = have if resumed else 0
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    if resumed:
        span = response.headers.get("Content-Range", "")
        if not span.startswith(f"bytes {have}-") or (noted and noted["total"] not in (None, total)):
            raise StaleError(f"the server sent {span!r} for bytes {have} on")
    _check_space(url, part, MAX_FILE if total is None else total, (total or 0) - have)
    found = validators_of(response)
    validator = found["etag"] or found["modified"]
    strong = "" if validator.startswith("W/") else validator
    note.write_text(json.dumps({"url": url.shown, "validator": strong, "total": total}))
    with part.open("ab" if resumed else "wb") as file:
        while chunk := response.read(CHUNK):
            _write(file, chunk)
            have += len(chunk)
            if have > (MAX_FILE if total is None else total):
                raise CheckpointError(f"{url} sends more than it announced; refused")
            if progress is not None:
                progress(have, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and have < total:
        raise InterruptedDownloadError(f"{have} of {total} bytes came")


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise CheckpointError(f"cannot write {file.name}: {error}; make room, or set TOME_ZOO_HOME") from None


def _check_space(url: Url, part: Path, total: int, needed: int) -> None:
    if total > MAX_FILE:
        raise CheckpointError(f"{url} announces {total / 2**30:.0f} GiB, more than any model of the zoo; refused")
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise CheckpointError(
            f"{url} needs {needed / 2**20:.0f} MiB in {part.parent}, where {free / 2**20:.0f} MiB are free: "
            "make room, or set TOME_ZOO_HOME to a folder on another disk"
        )


def _read_note(url: Url, note: Path) -> dict[str, Any] | None:
    """What the server said of the part at hand; None if it is not known to be of this URL."""
    try:
        found = json.loads(note.read_text())
        return {"validator": str(found["validator"]), "total": found["total"]} if found["url"] == url.shown else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
