"""Files of the Hugging Face hub, through its own client and in its own cache."""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

from tome_zoo.cards import Weights
from tome_zoo.errors import CheckpointError

log = logging.getLogger(__name__)

TWINS = {"model.safetensors": "pytorch_model.bin", "pytorch_model.bin": "model.safetensors"}
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def hub_url(weights: Weights) -> str:
    """The address that is asked: that of the card, at the hub that HF_ENDPOINT names."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(str(weights.hub), str(weights.filename), revision=weights.revision or "main")


def find_in_hub_cache(weights: Weights) -> Path | None:
    """The file if the hub's cache has it, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    for name in _names(weights):
        found = try_to_load_from_cache(str(weights.hub), name, revision=weights.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def download_from_hub(weights: Weights, force: bool = False) -> Path:
    """The file in the hub's cache, fetched if it is not there or is another by now.

    A copy at hand is used where the hub cannot be asked or nothing can be written.

    Args:
        weights: What a card says.
        force: Fetch it even if it is there.

    Raises:
        CheckpointError: If it cannot be had; the message says why.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason = ""
    for name in _names(weights):
        try:
            return Path(
                huggingface_hub.hf_hub_download(str(weights.hub), name, revision=weights.revision, force_download=force)
            )
        except Exception as error:  # the client raises its HTTP library's errors, and its own
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            reason = reason or (f"the repository has no {name}" if absent else _explain(error, weights))
            if not absent:
                break
    found = None if force else find_in_hub_cache(weights)
    if found is not None:
        log.warning("%s is used as it lies in the cache: %s", found, reason)
        return found
    raise CheckpointError(f"{hub_url(weights)} could not be fetched: {reason}")


def blob_fault(path: Path) -> str:
    """In what a file differs from the hash that the hub's cache calls it by; empty if in nothing or it has none."""
    name = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", name):  # git's
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        return ""
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    found = digest.hexdigest()
    return "" if found == name else f"its hash is {found}, the hub calls it {name}"


def _names(weights: Weights) -> list[str]:
    """The file, and the other name under which the hub's libraries publish the same tensors."""
    name = str(weights.filename)
    return [name, TWINS[name]] if name in TWINS else [name]


def _explain(error: BaseException, weights: Weights) -> str:
    from huggingface_hub import constants, errors

    response = _response(error)
    status = getattr(response, "status_code", None)
    page = f"{constants.ENDPOINT}/{weights.hub}"
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated (HTTP {status}): agree to its conditions at {page} in a browser, then {LOGIN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {weights.revision}"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return f"there is no repository {weights.hub}, or it is private (HTTP {status}): if so, {LOGIN}"
    if status == 429:
        wait = response.headers.get("Retry-After", "") if response is not None else ""
        later = f", it asks to come again in {wait} s" if wait.isdigit() else ""
        return f"too many requests (HTTP 429){later}; a login raises the limit: {LOGIN}"
    if status is not None:
        return f"the hub answered with HTTP {status}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "the hub cannot be reached"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _response(error: BaseException) -> Any:
    """The answer that an error, or one that led to it, was raised for."""
    link: BaseException | None = error
    for _ in range(5):
        if link is None:
            return None
        if (response := getattr(link, "response", None)) is not None:
            return response
        link = link.__cause__ or link.__context__
    return None
