"""Where fetched weights lie on this disk, and what is known of each file: how it was when it was checked.

Files of URLs lie in one folder: `TOME_ZOO_HOME`, or `tome-zoo` under the user's cache folder. Files of the Hugging Face
hub lie in its own cache, which timm and transformers share. With `TOME_ZOO_OFFLINE=1` or `HF_HUB_OFFLINE=1` nothing is
fetched.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from tome_zoo.cards import Weights
from tome_zoo.system.files import atomic_write
from tome_zoo.weights.url import parse

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
HASHES = ("md5", "sha1", "sha256")


def cache_folder() -> Path:
    """Where fetched files lie; it need not exist yet. Without a home it is in the system's temporary folder."""
    if home := os.environ.get("TOME_ZOO_HOME"):
        return Path(os.path.expanduser(home))
    with contextlib.suppress(RuntimeError):  # of releases of platformdirs that look for a home
        folder = platformdirs.user_cache_path("tome-zoo", appauthor=False)
        if folder.is_absolute():
            return folder
    return Path(tempfile.gettempdir()) / f"tome-zoo-{getattr(os, 'getuid', lambda: 'user')()}"


def is_offline() -> bool:
    """Whether the user forbids fetching."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("TOME_ZOO_OFFLINE", "HF_HUB_OFFLINE")
    )


def source_url(weights: Weights) -> str:
    """Where the file is published; its path for weights that lie beside their card."""
    if weights.hub is not None:
        return f"{HUB}/{weights.hub}/resolve/{weights.revision or 'main'}/{weights.filename}"
    return weights.url or str(weights.file)


def cache_path(weights: Weights) -> Path:
    """Where the fetched file of a URL lies, and where any file may be put by hand."""
    return path_of_url(parse(source_url(weights), weights.filename).name)


def path_of_url(name: str) -> Path:
    """The path of a file in the cache, by the name that its `Url` gives it."""
    return cache_folder() / "weights" / name


def digests(path: Path) -> dict[str, str]:
    """Hashes of a file in hex, by their names."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in HASHES}
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            for digest in hashes.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def mismatch(found: dict[str, str], weights: Weights | None) -> str:
    """In what hashes differ from those that a card states; empty if in nothing."""
    if weights is None:
        return ""
    for name, expected in (("sha256", weights.sha256), ("sha1", weights.sha1), ("md5", weights.md5_prefix)):
        if expected and not found[name].startswith(expected):
            return f"its {name} is {found[name]}, the card says {expected}"
    return ""


def read_record(path: Path) -> dict[str, Any]:
    """What was noted of a file when it was checked (size, mtime_ns, digests, etag, modified); empty if nothing."""
    try:
        found = json.loads(_record_path(path).read_text(encoding="utf-8"))
        return found if set(HASHES) <= found["digests"].keys() else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_record(path: Path, found: dict[str, str], validators: dict[str, str] | None = None) -> None:
    """Note a checked file's size, time and hashes, and what its server said of its version.

    Where nothing can be written the file is used all the same, and checked again the next time.
    """
    state = path.stat()
    record = {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "digests": found, **(validators or {})}
    try:
        with atomic_write(_record_path(path)) as file:
            json.dump(record, file)
    except OSError as error:
        log.info("cannot note that %s is checked: %s", path, error)


def is_as_checked(path: Path) -> bool:
    """Whether a file has the size and the time that it had when it was checked."""
    record, state = read_record(path), path.stat()
    return (record.get("size"), record.get("mtime_ns")) == (state.st_size, state.st_mtime_ns)


def _record_path(path: Path) -> Path:
    return cache_folder() / "checked" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}.json"
