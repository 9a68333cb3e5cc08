"""Reads a file of weights as plain tensors, without running anything that is in it.

safetensors, or what `torch.save` writes. Pickles go through torch's restricted unpickler, which builds tensors, plain
containers and, because published checkpoints hold them, `argparse.Namespace` and `pathlib` paths: nothing else. Sizes
are checked before anything is allocated.
"""

import argparse
import json
import os
import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tome_zoo.errors import CheckpointError

MAX_FILE = 32 * 2**30  # bytes; the largest published file here, with its optimiser's state, stays below 8 GiB
MAX_HEADER = 16 * 2**20  # bytes of a safetensors header; a thousand tensors need 0.1 MiB
MAX_PICKLE = 64 * 2**20  # bytes of the pickle in a torch file, which holds names and shapes, not the numbers
WRAPPERS = ("model", "model_state", "state_dict", "module")
PREFIXES = ("module.", "_orig_mod.")

# Paths come as pure ones, so that a file written on Windows opens elsewhere and the other way round.
_ALLOWED: list[Any] = [argparse.Namespace]
for _module in ("pathlib", "pathlib._local"):  # where Python 3.13 keeps them
    for _pure, _kinds in (
        (pathlib.PurePosixPath, ("PosixPath", "PurePosixPath")),
        (pathlib.PureWindowsPath, ("WindowsPath", "PureWindowsPath")),
    ):
        _ALLOWED.extend((_pure, f"{_module}.{_kind}") for _kind in _kinds)


def load_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, taken out of `model`, `model_state`, `state_dict` or `module`.

    Raises:
        CheckpointError: If the file is missing, damaged, no file of weights, of a size no published model has, or holds
            anything but tensors and plain data.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"expected a file of weights, found {'a folder' if path.is_dir() else 'nothing'} at {path}"
        )
    size = path.stat().st_size
    if size > MAX_FILE:
        raise CheckpointError(
            f"{path} has {size / 2**30:.0f} GiB; no model of the zoo has more than {MAX_FILE / 2**30:.0f}"
        )
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        found = _read_torch(path, size)
    elif len(start) == 16 and start[8:9] == b"{":
        found = _read_safetensors(path, size, int.from_bytes(start[:8], "little"))
    else:
        raise CheckpointError(f"{path} is no file of weights: {_describe(start, size)}")
    state = _without_prefix(_unwrap(found, path))
    _check_storage(state, path, size)
    return state


def _describe(start: bytes, size: int) -> str:
    if size == 0:
        return "it is empty; fetch it again"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, perhaps a download page saved in place of the file; fetch it again"
    if start.startswith(b"\x80"):
        return (
            "it is a bare pickle (torch before 1.6, or pickle.dump), whose sizes cannot be checked before loading; "
            "if you trust it, load it with torch and write it again with safetensors.torch.save_file"
        )
    return "expected safetensors or what torch.save writes (.safetensors, .pth, .pt, .bin, .torch)"


def _read_safetensors(path: Path, size: int, header: int) -> dict[str, Any]:
    if header > min(MAX_HEADER, size - 8):
        raise CheckpointError(
            f"{path} is damaged or hostile: its safetensors header claims {header} bytes, "
            f"of which at most {min(MAX_HEADER, size - 8)} can be"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file: {error}; fetch it again") from None


def _read_torch(path: Path, size: int) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is a damaged torch file: {error}; fetch it again") from None
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise CheckpointError(
            f"{path} has {size} bytes but claims to unpack to {unpacked}: torch.save does not compress, "
            "so this is no file of its making; refused before unpacking"
        )
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
        raise CheckpointError(
            f"{path} is a zip archive but no torch file: expected one data.pkl below {MAX_PICKLE >> 20} MiB"
        )
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it holds more than tensors and plain data ({_culprit(str(error))}), "
            "and loading that could run code. If you trust its publisher, load it with torch.load(..., "
            "weights_only=False) in a safe place and write its tensors with safetensors.torch.save_file"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{path} is a damaged torch file: {str(error).splitlines()[0]}; fetch it again") from None


def _culprit(message: str) -> str:
    """The line of torch's long message that names what was refused."""
    for line in message.splitlines():
        if "WeightsUnpickler error" in line or "Unsupported" in line or "GLOBAL" in line:
            return line.split("WeightsUnpickler error:")[-1].split(" was not an allowed")[0].strip()
    return message.splitlines()[0]


def _unwrap(found: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(2):
        if not isinstance(found, Mapping):
            raise CheckpointError(f"{path} holds {type(found).__name__}, expected tensors by name")
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not found:
        raise CheckpointError(f"{path} holds no tensor")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds {type(value).__name__} under {key!r}, expected tensors by name, or a dictionary of them "
                f"under one of {', '.join(WRAPPERS)}"
            )
    return dict(found)


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DistributedDataParallel and torch.compile put in front of every name."""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _check_storage(state: Mapping[str, Tensor], path: Path, size: int) -> None:
    """Every tensor dense, on the CPU, and within what the file holds: a few bytes cannot claim to be gigabytes."""
    total = 0
    for key, value in state.items():
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise CheckpointError(f"{path}: {key!r} is no dense real tensor in memory; expected plain weights")
        needed = value.numel() * value.element_size()
        total += needed
        if needed > value.untyped_storage().nbytes() or total > 2 * size:
            raise CheckpointError(
                f"{path}: {key!r} of shape {tuple(value.shape)} claims more than the file holds; refused"
            )
