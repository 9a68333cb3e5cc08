"""Checkpoints of a run: everything that is needed to go on exactly, whole or not at all; the last few are kept."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tome_zoo.errors import CheckpointError
from tome_zoo.system.files import atomic_write

FOLDER = "checkpoints"


def checkpoint_path(output: Path, step: int) -> Path:
    """Where the checkpoint after that many steps lies."""
    return output / FOLDER / f"{step:08d}.pt"


def checkpoints(output: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    return sorted(path for path in (output / FOLDER).glob("*.pt") if path.stem.isdecimal())


def save_checkpoint(output: Path, state: Mapping[str, Any], *, keep: int) -> Path:
    """Write a checkpoint and remove all but the last `keep`.

    Args:
        output: Folder of the run.
        state: Tensors and plain values; `step` is the number of steps done.
        keep: How many stay.
    """
    path = checkpoint_path(output, state["step"])
    with atomic_write(path, "wb") as file:
        torch.save(dict(state), file)
    for old in checkpoints(output)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(output: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last checkpoint of a run, on the CPU; None if there is none. Tensors and plain values alone are read.

    Args:
        output: Folder of the run.
        settings: What the run is given now; it has to be what the checkpoint's was given.

    Raises:
        CheckpointError: If it is damaged, or of a run with other settings.
    """
    found = checkpoints(output)
    if not found:
        return None
    try:
        state = torch.load(found[-1], map_location="cpu", weights_only=True)
        before = json.loads(state["settings"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{found[-1]}: a damaged checkpoint ({error}); remove it to go on from the one before"
        ) from None
    now = json.loads(json.dumps(settings))
    other = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if other:
        told = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in other)
        raise CheckpointError(f"{output} holds a run with other settings ({told}): give another output")
    return state


def digest(names: list[str]) -> str:
    """Leading 16 hex digits of the SHA-256 of a list of names."""
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:16]
