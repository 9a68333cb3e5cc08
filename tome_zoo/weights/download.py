"""One file over HTTP: resumed where it broke off, never half there under its final name."""

import contextlib
import html.parser
import http.client
import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from tome_zoo.errors import CheckpointError

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, if the server says so, the bytes there will be."""

CHUNK = 2**20  # bytes
TIMEOUT = 30.0  # s without a byte
ATTEMPTS = 5  # in a row that bring nothing
PAUSE = 1.0  # s before the second attempt; doubled before each further one
MAX_FILE = 32 * 2**30  # bytes
HEADERS = {"User-Agent": "tome-zoo", "Accept-Encoding": "identity"}
RETRIED = (429, 500, 502, 503, 504)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar on stderr if that is a terminal; yields what to call with the bytes there are and those there will be."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _BrokenError(Exception):
    """The connection broke off, or the server asked to come again; the next attempt may go on where this one ended."""


class _StaleError(_BrokenError):
    """The part at hand is of another file; the next attempt begins anew."""


def download(url: str, target: Path, *, progress: Progress | None = None) -> Path:
    """Fetch a URL into `<target>.part`, going on from what an earlier attempt left there.

    Returns:
        The complete part file; the caller checks it and renames it.

    Raises:
        CheckpointError: If the server cannot be reached or refuses, sends a web page, or more than the disk holds.
    """
    part, note = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    attempt = 0
    while True:
        before = _length(part)
        try:
            _attempt(url, part, note, progress)
            note.unlink(missing_ok=True)
            return part
        except _BrokenError as error:
            if isinstance(error, _StaleError):
                part.unlink(missing_ok=True)
            attempt = 1 if _length(part) > before else attempt + 1
            log.info("download of %s interrupted: %s", url, error)
            if attempt >= ATTEMPTS:
                raise CheckpointError(f"{url} could not be fetched: {error}") from None
        time.sleep(PAUSE * 2 ** (attempt - 1))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _attempt(url: str, part: Path, note: Path, progress: Progress | None) -> None:
    headers, noted = dict(HEADERS), _read_note(url, note)
    have = _length(part) if noted is not None else 0
    if have and noted is not None:
        headers["Range"] = f"bytes={have}-"
        if noted["validator"]:
            headers["If-Range"] = noted["validator"]
    with _open(url, headers) as response:
        if response.headers.get_content_type() == "text/html":
            link = _drive_link(response) if _is_drive(url) else None
            if link is None:
                raise CheckpointError(f"{url} answered with a web page, not with a file: fetch it by hand in a browser")
            with _open(link, headers) as confirmed:
                if confirmed.headers.get_content_type() == "text/html":
                    raise CheckpointError(f"{url} keeps answering with a web page: fetch it by hand in a browser")
                _save(url, confirmed, part, note, have, noted, progress)
                return
        _save(url, response, part, note, have, noted, progress)


@contextlib.contextmanager
def _open(url: str, headers: dict[str, str]) -> Iterator[Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and "Range" in headers:
                raise _StaleError("the server has no such range") from None
            if error.code in RETRIED:
                raise _BrokenError(f"HTTP {error.code} {error.reason}") from None
            raise CheckpointError(f"{url} could not be fetched: HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise CheckpointError(f"{url} cannot be reached: {error.reason}") from None
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(str(error) or type(error).__name__) from None


def _save(
    url: str, response: Any, part: Path, note: Path, have: int, noted: dict[str, Any] | None, progress: Progress | None
) -> None:
    resumed = response.status == 206
    have = have if resumed else 0
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    if resumed:
        span = response.headers.get("Content-Range", "")
        if not span.startswith(f"bytes {have}-") or (noted and noted["total"] not in (None, total)):
            raise _StaleError(f"the server sent {span!r} for bytes {have} on")
    _check_space(url, part, MAX_FILE if total is None else total, (total or 0) - have)
    validator = response.headers.get("ETag", "") or response.headers.get("Last-Modified", "")
    strong = "" if validator.startswith("W/") else validator
    note.write_text(json.dumps({"url": url, "validator": strong, "total": total}))
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
        raise _BrokenError(f"{have} of {total} bytes came")


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise CheckpointError(f"cannot write {file.name}: {error}; make room, or set TOME_ZOO_HOME") from None


def _check_space(url: str, part: Path, total: int, needed: int) -> None:
    if total > MAX_FILE:
        raise CheckpointError(f"{url} announces {total / 2**30:.0f} GiB, more than any model of the zoo; refused")
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise CheckpointError(
            f"{url} needs {needed / 2**20:.0f} MiB in {part.parent}, where {free / 2**20:.0f} MiB are free: "
            "make room, or set TOME_ZOO_HOME to a folder on another disk"
        )


def _read_note(url: str, note: Path) -> dict[str, Any] | None:
    """What the server said of the part at hand; None if it is not known to be of this URL."""
    try:
        found = json.loads(note.read_text())
        return {"validator": str(found["validator"]), "total": found["total"]} if found["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_drive(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname in (
        "drive.google.com",
        "docs.google.com",
        "drive.usercontent.google.com",
    )


class _Form(html.parser.HTMLParser):
    """The first form of a page: where it goes, and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = found.get("action", "")
        if tag == "input" and found.get("type") == "hidden" and "name" in found:
            self.fields[found["name"]] = found.get("value", "")


def _drive_link(response: Any) -> str | None:
    """Google Drive asks before it sends a large file that it has not scanned; this is what its button would open."""
    form = _Form()
    form.feed(response.read(CHUNK).decode("utf-8", errors="replace"))
    link = urllib.parse.urljoin(response.url, form.action) if form.action else ""
    return f"{link}?{urllib.parse.urlencode(form.fields)}" if form.fields and _is_drive(link) else None
