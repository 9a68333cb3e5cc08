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
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tome_zoo.errors import CheckpointError
from tome_zoo.weights.unwrap import find_state_dict

MAX_FILE = 32 * 2**30  # bytes; the largest published file here, with its optimiser's state, stays below 8 GiB
MAX_HEADER = 16 * 2**20  # bytes of a safetensors header; a thousand tensors need 0.1 MiB
MAX_PICKLE = 64 * 2**20  # bytes of the pickle in a torch file, which holds names and shapes, not the numbers

# Paths come as pure ones, so that a file written on Windows opens elsewhere and the other way round.
_ALLOWED: list[Any] = [argparse.Namespace]
for _module in ("pathlib", "pathlib._local"):  # where Python 3.13 keeps them
    for _pure, _kinds in (
        (pathlib.PurePosixPath, ("PosixPath", "PurePosixPath")),
        (pathlib.PureWindowsPath, ("WindowsPath", "PureWindowsPath")),
    ):
        _ALLOWED.extend((_pure, f"{_module}.{_kind}") for _kind in _kinds)


def load_file(path: str | os.PathLike[str], use_ema: bool | None = None) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU: a state dict, or a training program's dictionary around one.

    Args:
        path: safetensors, or what `torch.save` writes.
        use_ema: Of raw and averaged weights, which to take; see `unwrap.find_state_dict`.

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
    elif len(start) == 16 and start[8:9] == b"{" and not start.startswith(b"{"):  # the latter is JSON
        found = _read_safetensors(path, size, int.from_bytes(start[:8], "little"))
    else:
        raise CheckpointError(f"{path} is no file of weights: {_describe(path, start, size)}")
    state = find_state_dict(found, path, use_ema)
    _check_storage(state, path, size)
    return state


def _describe(path: Path, start: bytes, size: int) -> str:
    if size == 0:
        return "it is empty; fetch it again"
    if start.lstrip()[:1] == b"{":
        return _describe_json(path)
    if start.lstrip()[:1] == b"<":
        return "it is a web page, perhaps a download page saved in place of the file; fetch it again"
    if start.startswith(b"\x80"):
        return (
            "it is a bare pickle (torch before 1.6, or pickle.dump), whose sizes cannot be checked before loading; "
            "if you trust it, load it with torch and write it again with safetensors.torch.save_file"
        )
    return "expected safetensors or what torch.save writes (.safetensors, .pth, .pt, .bin, .torch)"


def _describe_json(path: Path) -> str:
    try:
        files = sorted(set(json.loads(path.read_bytes()[:MAX_HEADER])["weight_map"].values()))
        shown = ", ".join(str(name) for name in files[:3]) + (", ..." if len(files) > 3 else "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "it is a JSON file"
    return (
        f"it is the index of weights that lie in {len(files)} other files ({shown}): join them, with "
        "transformers' from_pretrained(...).save_pretrained(..., max_shard_size='100GB'), and name that file"
    )


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
    names = [entry.filename for entry in entries]
    if kind := _other_archive(names):
        raise CheckpointError(f"{path} is {kind}")
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
        raise CheckpointError(
            f"{path} is a zip archive but no torch file: expected one data.pkl below {MAX_PICKLE >> 20} MiB"
        )
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # of what is refused below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it holds more than tensors and plain data ({_culprit(str(error))}), "
            "and loading that could run code. If you trust its publisher, load it with torch.load(..., "
            "weights_only=False) in a safe place and write its tensors with safetensors.torch.save_file"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{path} is a damaged torch file: {str(error).splitlines()[0]}; fetch it again") from None


def _other_archive(names: list[str]) -> str:
    """What an archive is that is no file of weights, and how weights come out of it; empty if it may be one."""
    if any(name.endswith("constants.pkl") for name in names) and any("/code/" in name for name in names):
        return (
            "a TorchScript program, not a file of weights: take them out where you trust it, with "
            "safetensors.torch.save_file(torch.jit.load(path).state_dict(), ...)"
        )
    if any(name.endswith("archive_format") for name in names):
        return (
            "an exported program (.pt2), not a file of weights: take them out where you trust it, with "
            "safetensors.torch.save_file(torch.export.load(path).state_dict, ...)"
        )
    if names and all(name.endswith(".npy") for name in names):
        return (
            "an archive of numpy arrays (.npz), not PyTorch weights: timm publishes the converted files of such models"
        )
    return ""


def _culprit(message: str) -> str:
    """The line of torch's long message that names what was refused."""
    for line in message.splitlines():
        if "WeightsUnpickler error" in line or "Unsupported" in line or "GLOBAL" in line:
            return line.split("WeightsUnpickler error:")[-1].split(" was not an allowed")[0].strip()
    return message.splitlines()[0]


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
