"""Weights that a card names, from the cache or from where they are published, checked before anybody reads them.

Files of URLs lie in one folder: `TOME_ZOO_HOME`, or `tome-zoo` under the user's cache directory. Files of the Hugging
Face hub lie in its own cache, which timm and transformers share. With `TOME_ZOO_OFFLINE=1` or `HF_HUB_OFFLINE=1`
nothing is fetched.
"""

import contextlib
import hashlib
import json
import logging
import os
import sys
import urllib.parse
from pathlib import Path
from typing import Any

from filelock import FileLock

from tome_zoo.cards import Weights
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.download import Progress, download, progress_bar

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
SWITCHED_OFF = "fetching is switched off (TOME_ZOO_OFFLINE, HF_HUB_OFFLINE)"
TWINS = {"model.safetensors": "pytorch_model.bin", "pytorch_model.bin": "model.safetensors"}


def cache_folder() -> Path:
    """Where fetched files lie; it need not exist yet."""
    if home := os.environ.get("TOME_ZOO_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tome-zoo"


def offline() -> bool:
    """Whether the user forbids fetching."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("TOME_ZOO_OFFLINE", "HF_HUB_OFFLINE")
    )


def address(weights: Weights) -> str:
    """Where a person would fetch the file; its path for weights that lie beside their card."""
    if weights.hub is not None:
        return f"{HUB}/{weights.hub}/resolve/{weights.revision or 'main'}/{weights.filename}"
    return weights.url or str(weights.file)


def place(weights: Weights) -> Path:
    """Where a fetched file lies, or may be put by hand."""
    url = address(weights)
    name = weights.filename or Path(urllib.parse.urlsplit(url).path).name or "weights"
    return cache_folder() / "weights" / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{Path(name).name}"


def cached(weights: Weights) -> Path | None:
    """The file if it is at hand, looking neither at the network nor into it; None if it would have to be fetched."""
    if weights.file is not None:
        return weights.file if weights.file.is_file() else None
    target = place(weights)
    if target.is_file():
        return target
    if weights.hub is not None:
        from huggingface_hub import try_to_load_from_cache

        for name in _hub_names(weights):
            found = try_to_load_from_cache(weights.hub, name, revision=weights.revision)
            if isinstance(found, str):
                return Path(found)
    return None


def fetch(weights: Weights, *, progress: Progress | None = None) -> Path:
    """The file of a card's weights, fetched if it is not at hand, its hash checked.

    Args:
        weights: What a card says of them.
        progress: Called with the bytes that are there and those there will be (None: the server does not say).
            Without it, a bar is drawn if stderr is a terminal.

    Raises:
        CheckpointError: If the file is not at hand and cannot be fetched (the message says where it is published and
            where to put it), or its hash is not the card's.
    """
    if weights.file is not None:
        if not weights.file.is_file():
            raise CheckpointError(
                f"expected weights at {weights.file}, found none: install the package or the cards again"
            )
        return _checked(weights.file, weights)
    target = place(weights)
    if weights.hub is not None and not target.is_file():
        return _checked(_from_hub(weights), weights)
    if target.is_file() and _trusted(target, weights):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot make the cache {target.parent}: {error}; set TOME_ZOO_HOME to a folder"
        ) from None
    with FileLock(target.with_name(target.name + ".lock")):
        if target.is_file():
            if _trusted(target, weights) or not _changed(target):
                return _checked(target, weights)
            if offline():
                raise CheckpointError(f"{target} has changed since it was fetched, and {SWITCHED_OFF}")
            log.warning("%s has changed since it was fetched; fetching it again", target)
        return _from_url(weights, target, progress)


def _from_url(weights: Weights, target: Path, progress: Progress | None) -> Path:
    url = address(weights)
    if weights.by_hand:
        raise CheckpointError(f"{url} has to be fetched by hand ({weights.by_hand}). {_by_hand(weights)}")
    if offline():
        raise CheckpointError(f"{url} is not at hand, and {SWITCHED_OFF}. {_by_hand(weights)}")
    try:
        with contextlib.ExitStack() as stack:
            if progress is None:
                progress = stack.enter_context(progress_bar(target.name))
            part = download(url, target, progress=progress)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {_by_hand(weights)}") from None
    digests = _digests(part)
    if fault := _mismatch(digests, weights):
        part.unlink()
        what = f"{url} came damaged or is another file: {fault}"
        raise CheckpointError(f"{what}. It was removed; try again. {_by_hand(weights)}")
    os.replace(part, target)
    _write_receipt(target, digests)
    return target


def _from_hub(weights: Weights) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if offline():
        if found := cached(weights):
            return found
        raise CheckpointError(f"{address(weights)} is not at hand, and {SWITCHED_OFF}. {_by_hand(weights)}")
    reason = ""
    for name in _hub_names(weights):
        try:
            return Path(huggingface_hub.hf_hub_download(str(weights.hub), name, revision=weights.revision))
        except LocalEntryNotFoundError:
            if found := cached(weights):
                return found
            reason = "the hub cannot be reached"
            break
        except EntryNotFoundError:
            reason = reason or f"the repository has no {name}"
        except Exception as error:  # the client raises its HTTP library's errors, and its own
            reason = reason or (str(error).splitlines() or [type(error).__name__])[0]
            break
    raise CheckpointError(f"{address(weights)} could not be fetched: {reason}. {_by_hand(weights)}")


def _hub_names(weights: Weights) -> list[str]:
    """The file, and the other name under which the hub's libraries publish the same tensors."""
    name = str(weights.filename)
    return [name, TWINS[name]] if name in TWINS else [name]


def _by_hand(weights: Weights) -> str:
    return (
        f"Without this machine's network: get {address(weights)} elsewhere and put it at {place(weights)}, "
        "or name your copy with weights= (--weights)"
    )


def _digests(path: Path) -> dict[str, str]:
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha1", "sha256")}
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            for digest in hashes.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def _mismatch(digests: dict[str, str], weights: Weights) -> str:
    for name, expected in (("sha256", weights.sha256), ("sha1", weights.sha1), ("md5", weights.md5_prefix)):
        if expected and not digests[name].startswith(expected):
            return f"its {name} is {digests[name]}, the card says {expected}"
    return ""


def _checked(path: Path, weights: Weights) -> Path:
    """The path, once its hash is the card's; a file that is as it was when last checked is not read again."""
    known = weights.sha256 or weights.sha1 or weights.md5_prefix
    if (weights.url is None and not known) or _trusted(path, weights):
        return path  # the hub's client has checked its own
    digests = _digests(path)
    if fault := _mismatch(digests, weights):
        raise CheckpointError(f"{path} is damaged or another file: {fault}. Remove it, and it is fetched again")
    if weights.file is None:
        _write_receipt(path, digests)
    return path


def _receipt(path: Path) -> Path:
    return cache_folder() / "receipts" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}.json"


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_receipt(path).read_text())
        return found if {"md5", "sha1", "sha256"} <= found["digests"].keys() else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_receipt(path: Path, digests: dict[str, str]) -> None:
    """Remember what a file was when it was checked: its size, time and hashes."""
    receipt, state = _receipt(path), path.stat()
    receipt.parent.mkdir(parents=True, exist_ok=True)
    fresh = receipt.with_name(f"{receipt.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"size": state.st_size, "mtime_ns": state.st_mtime_ns, "digests": digests}))
    os.replace(fresh, receipt)


def _trusted(path: Path, weights: Weights) -> bool:
    """Whether the file is as it was when it was checked, and what was found then is what this card asks for."""
    receipt, state = _read_receipt(path), path.stat()
    same = (receipt.get("size"), receipt.get("mtime_ns")) == (state.st_size, state.st_mtime_ns)
    return same and not _mismatch(receipt["digests"], weights)


def _changed(path: Path) -> bool:
    """Whether a file that was checked once has other bytes now; one that was put there by hand has no receipt."""
    receipt = _read_receipt(path)
    return bool(receipt) and _digests(path) != receipt.get("digests")
