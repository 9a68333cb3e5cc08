"""From what names weights, a card, an address or a path, to a file on this disk that is whole and the one meant."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from tome_zoo.cards import Weights
from tome_zoo.errors import CheckpointError
from tome_zoo.weights import cache, hub
from tome_zoo.weights.cache import cache_path, is_offline, path_of_url, source_url
from tome_zoo.weights.connection import is_replaced
from tome_zoo.weights.download import DownloadProgress, download, download_bar
from tome_zoo.weights.intact import fault_of
from tome_zoo.weights.url import Url, is_url, local_path, parse

log = logging.getLogger(__name__)

SWITCHED_OFF = "fetching is switched off (TOME_ZOO_OFFLINE, HF_HUB_OFFLINE)"


def locate(
    source: Weights | str | os.PathLike[str], *, progress: DownloadProgress | None = None, force: bool = False
) -> Path:
    """The file that a card's weights, a URL or a path names, fetched if need be.

    Args:
        source: Weights of a card; an http, https or file address; or a path, with `~` for the home folder.
        progress: Called with the bytes that are there and those there will be (None: the server does not say).
            Without it, a bar is drawn if stderr is a terminal.
        force: Fetch it even if it is at hand.

    Raises:
        CheckpointError: If it cannot be had; see `fetch` and `fetch_url`. Whether a path holds anything is for the
            reader to say.
    """
    if isinstance(source, Weights):
        return fetch(source, progress=progress, force=force)
    if isinstance(source, str) and is_url(source) and not source.strip().lower().startswith("file:"):
        return fetch_url(source, progress=progress, force=force)
    return local_path(source)


def find_cached(weights: Weights) -> Path | None:
    """The file if it is at hand, looking neither at the network nor into it; None if it would have to be fetched."""
    if weights.file is not None:
        return weights.file if weights.file.is_file() else None
    target = cache_path(weights)
    if target.is_file():
        return target
    return hub.find_in_hub_cache(weights) if weights.hub is not None else None


def fetch(weights: Weights, *, progress: DownloadProgress | None = None, force: bool = False) -> Path:
    """The file of a card's weights, fetched if it is not at hand, its hash checked.

    A copy that comes damaged, or was damaged since, is dropped and fetched once more. A copy at hand that is as it
    was when it was checked is used as it is, whether or not anything can be written.

    Args:
        weights: What a card says of them.
        progress: As in `locate`.
        force: Fetch it even if it is at hand; a file that was put there by hand is replaced.

    Raises:
        CheckpointError: If the file is not at hand and cannot be fetched (the message says where it is published and
            where to put it), or its hash is not the card's.
    """
    if weights.file is not None:
        if not weights.file.is_file():
            raise CheckpointError(
                f"expected weights at {weights.file}, found none: install the package or the cards again"
            )
        return _check(weights.file, weights, remedy="install the package or the cards again")
    target = cache_path(weights)
    if weights.hub is not None and (force or not target.is_file()):
        return _fetch_from_hub(weights, force)
    return _fetch_to(target, parse(source_url(weights), weights.filename), weights, progress, force)


def fetch_url(url: str, *, progress: DownloadProgress | None = None, force: bool = False) -> Path:
    """The file at an address. A copy at hand is used as long as the server has no other one under that address.

    Raises:
        CheckpointError: If it is no address, or its file is not at hand and cannot be fetched.
    """
    parsed = parse(url)
    target = path_of_url(parsed.name)
    if target.is_file() and not force and not is_offline():
        try:
            force = is_replaced(parsed, target.stat().st_size, cache.read_record(target))
        except CheckpointError as error:
            log.warning("%s is used as it lies in the cache: %s", target, error)
        else:
            if force:
                log.warning("%s has another file than before; fetching it", parsed)
    return _fetch_to(target, parsed, None, progress, force)


def _fetch_to(target: Path, url: Url, weights: Weights | None, progress: DownloadProgress | None, force: bool) -> Path:
    if not force and target.is_file() and _is_verified(target, weights):
        return target
    if not force and target.is_file() and not _is_damaged(target):
        return _check(target, weights, remedy="Remove it, and it is fetched again")
    if target.is_file() and is_offline():
        raise CheckpointError(f"{target} has changed since it was fetched, and {SWITCHED_OFF}")
    before = target.stat().st_mtime_ns if target.is_file() else None
    with _locked(target):
        if target.is_file() and target.stat().st_mtime_ns != before and _is_verified(target, weights):
            return target  # another process has fetched it meanwhile
        if target.is_file() and not force:
            log.warning("%s has changed since it was fetched; fetching it again", target)
        return _download(target, url, weights, progress)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time fetches a file."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(target.name + ".lock"))
        lock.acquire()
    except OSError as error:
        raise CheckpointError(
            f"cannot write to the cache {target.parent}: {error}; set TOME_ZOO_HOME to a folder that can be written"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _download(target: Path, url: Url, weights: Weights | None, progress: DownloadProgress | None) -> Path:
    if weights is not None and weights.by_hand:
        raise CheckpointError(f"{url} has to be fetched by hand ({weights.by_hand}). {_by_hand(url.shown, target)}")
    if is_offline():
        raise CheckpointError(f"{url} is not at hand, and {SWITCHED_OFF}. {_by_hand(url.shown, target)}")
    fault = ""
    for _ in range(2):
        try:
            with contextlib.ExitStack() as stack:
                report = progress or stack.enter_context(download_bar(target.name))
                part, validators = download(url, target, progress=report)
            digests = cache.digests(part)
            fault = cache.mismatch(digests, weights) or fault_of(part)
            if not fault:
                os.replace(part, target)
                cache.write_record(target, digests, validators)
                return target
            part.unlink()
        except CheckpointError as error:
            raise CheckpointError(f"{error}. {_by_hand(url.shown, target)}") from None
        except OSError as error:
            raise CheckpointError(f"cannot write to the cache {target.parent}: {error}; set TOME_ZOO_HOME") from None
        log.warning("%s came damaged (%s); fetching it once more", url, fault)
    raise CheckpointError(
        f"{url} came damaged twice, or is another file: {fault}. It was removed. {_by_hand(url.shown, target)}"
    )


def _fetch_from_hub(weights: Weights, force: bool) -> Path:
    if is_offline():
        if found := hub.find_in_hub_cache(weights):
            return _check(found, weights, remedy=f"{SWITCHED_OFF[0].upper()}{SWITCHED_OFF[1:]}")
        raise CheckpointError(f"{hub.hub_url(weights)} is not at hand, and {SWITCHED_OFF}. {_hub_by_hand(weights)}")
    fault = ""
    for attempt in (force, True):
        try:
            path = hub.download_from_hub(weights, force=attempt)
        except CheckpointError as error:
            damaged = f"; the copy at hand is damaged ({fault})" if fault else ""
            raise CheckpointError(f"{error}{damaged}. {_hub_by_hand(weights)}") from None
        if _is_verified(path, weights):
            return path
        fault = fault_of(path) or hub.blob_fault(path)
        digests = {} if fault else cache.digests(path)
        fault = fault or cache.mismatch(digests, weights)
        if not fault:
            cache.write_record(path, digests)
            return path
        log.warning("%s is damaged (%s); fetching it once more", path, fault)
    raise CheckpointError(f"{hub.hub_url(weights)} came damaged, or is another file: {fault}. {_hub_by_hand(weights)}")


def _check(path: Path, weights: Weights | None, remedy: str) -> Path:
    """The path, once its hash is the card's; a file that is as it was when last checked is not read again."""
    if _is_verified(path, weights):
        return path
    digests = cache.digests(path)
    if fault := cache.mismatch(digests, weights) or fault_of(path):
        raise CheckpointError(f"{path} is damaged or another file: {fault}. {remedy}")
    if weights is None or weights.file is None:
        cache.write_record(path, digests, _known_validators(path))
    return path


def _known_validators(path: Path) -> dict[str, str]:
    return {key: value for key, value in cache.read_record(path).items() if key in ("etag", "modified")}


def _is_verified(path: Path, weights: Weights | None) -> bool:
    """Whether the file is as it was when it was checked, and what was found then is what the card asks for."""
    return cache.is_as_checked(path) and not cache.mismatch(cache.read_record(path)["digests"], weights)


def _is_damaged(path: Path) -> bool:
    """Whether a file that was checked once has other bytes now; one that was put there by hand has no record."""
    record = cache.read_record(path)
    return bool(record) and cache.digests(path) != record["digests"]


def _hub_by_hand(weights: Weights) -> str:
    return _by_hand(hub.hub_url(weights), cache_path(weights))


def _by_hand(url: str, target: Path) -> str:
    return (
        f"Without this machine's network: get {url} elsewhere and put it at {target}, "
        "or name your copy with weights= (--weights)"
    )
