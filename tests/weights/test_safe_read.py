"""Files of weights: what is read, and hostile or damaged ones, none of which may run or allocate anything."""

import argparse
import json
import os
import pathlib
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

import tome_zoo
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.safe_read import load_file

STATE = {"a": torch.arange(4.0), "b.c": torch.ones(2, 3)}


class Code:
    """Unpickled by a careless loader, this leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class WindowsFile:
    """Pickles as a path does on Windows."""

    def __reduce__(self):
        return pathlib.WindowsPath, ("C:\\", "runs")


def test_safetensors_is_read(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert torch.equal(load_file(str(tmp_path / "w.safetensors"))["a"], STATE["a"])


def test_training_checkpoint_with_arguments_and_paths(tmp_path):
    args = argparse.Namespace(lr=1e-3, output=pathlib.Path("/runs"), windows=WindowsFile())
    optimizer = {"state": {0: {"step": 1, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-3}]}
    torch.save({"model": STATE, "args": args, "optimizer": optimizer}, tmp_path / "w.pth")
    assert load_file(tmp_path / "w.pth").keys() == STATE.keys()


def hostile(path, kind, mark):
    """Write one hostile or damaged file."""
    torch.save({"model": STATE}, path)
    good = path.read_bytes()
    safe = save(STATE)
    header = struct.unpack("<Q", safe[:8])[0]
    if kind == "code in a torch file":
        torch.save({"model": STATE, "extra": Code(mark)}, path)
    elif kind == "code in a bare pickle":
        path.write_bytes(pickle.dumps(Code(mark)))
    elif kind == "code in an old torch file":
        torch.save({"model": Code(mark)}, path, _use_new_zipfile_serialization=False)
    elif kind == "numpy scalar":
        torch.save({"model": STATE, "best": np.float64(3)}, path)
    elif kind == "zip bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", bytes(10**7))
    elif kind == "zip of something else":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.jpg", b"x" * 100)
    elif kind == "storage that claims more than it has":
        names = zipfile.ZipFile(path).namelist()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(path.with_suffix(".new"), "w") as new:
            for name in names:
                new.writestr(name, old.read(name).replace(b"K\x04", b"J\xff\xff\xff\x0f"))
        path.with_suffix(".new").replace(path)
    elif kind == "tensor expanded from one number":
        torch.save({"model": {"a": torch.zeros(1).expand(10**6, 10**6)}}, path)
    elif kind == "many tensors on one storage":
        base = torch.zeros(1000)
        torch.save({f"a{i}": base.view(1000) for i in range(50)}, path)
    elif kind == "complex":
        torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, path)
    elif kind == "sparse":
        torch.save({"a": torch.eye(3).to_sparse()}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "empty dictionary":
        torch.save({"model": {}}, path)
    elif kind == "number in place of a tensor":
        torch.save({"model": {"a": 3}}, path)
    elif kind == "header bomb":
        path.write_bytes(struct.pack("<Q", 2**62) + b"{" + bytes(100))
    elif kind == "header beyond the file":
        path.write_bytes(struct.pack("<Q", len(safe)) + safe[8:])
    elif kind == "offsets beyond the file":
        path.write_bytes(safe[:8] + safe[8 : 8 + header].replace(b"[0,16]", b"[0,99]") + safe[8 + header :])
    elif kind == "truncated safetensors":
        path.write_bytes(safe[:-5])
    elif kind == "truncated torch file":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "TorchScript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    elif kind == "exported program":
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path.with_suffix(".pt2"))
        path.with_suffix(".pt2").replace(path)
    elif kind == "numpy archive":
        np.savez(path.with_suffix(".npz"), a=np.zeros(2))
        path.with_suffix(".npz").replace(path)
    elif kind.startswith("index"):
        index = {"metadata": {}, "weight_map": {"a": "w-1-of-2.safetensors", "b.c": "w-2-of-2.safetensors"}}
        path.write_text(json.dumps(index, indent=2 if kind.endswith("lines") else None))
    elif kind == "JSON":
        path.write_text('{"a": {"b": [1, 2, 3]}}')
    elif kind == "text":
        path.write_text("these are not the weights you are looking for\n")
    elif kind == "web page":
        path.write_text("<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    elif kind == "empty":
        path.write_bytes(b"")


KINDS = {
    "code in a torch file": r"more than tensors and plain data \(.*mkdir.*could run code",
    "code in a bare pickle": "bare pickle",
    "code in an old torch file": "bare pickle",
    "numpy scalar": r"numpy.*could run code",
    "zip bomb": "claims to unpack to 10000000",
    "zip of something else": r"expected one data\.pkl",
    "storage that claims more than it has": "damaged torch file",
    "tensor expanded from one number": "claims more than the file holds",
    "many tensors on one storage": "claims more than the file holds",
    "complex": "no dense real tensor",
    "sparse": "no dense real tensor",
    "list": "holds list, expected tensors by name",
    "empty dictionary": "holds no tensor",
    "number in place of a tensor": "holds int under 'a'",
    "header bomb": "its safetensors header claims 4611686018427387904 bytes",
    "header beyond the file": "safetensors header claims",
    "offsets beyond the file": "damaged safetensors file",
    "truncated safetensors": "damaged safetensors file",
    "truncated torch file": "damaged torch file",
    "TorchScript": r"is a TorchScript program, not a file of weights: .*torch\.jit\.load",
    "exported program": r"is an exported program \(\.pt2\)",
    "numpy archive": r"is an archive of numpy arrays \(\.npz\)",
    "index": r"is the index of weights that lie in 2 other files \(w-1-of-2\.safetensors, w-2-of-2\.safetensors\)",
    "index of several lines": "is the index of weights that lie in 2 other files",
    "JSON": "it is a JSON file",
    "text": "no file of weights",
    "web page": "it is a web page",
    "empty": "it is empty",
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_file_is_refused(tmp_path, kind):
    path, mark = tmp_path / "w.pth", tmp_path / "it-ran"
    hostile(path, kind, mark)
    with pytest.raises(CheckpointError, match=KINDS[kind]):
        load_file(path)
    assert not mark.exists()
    with pytest.raises(CheckpointError):
        tome_zoo.create_model("deit_tiny_patch16_224.fb_in1k", weights=path)
    assert not mark.exists()


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="found nothing at"):
        load_file(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="found a folder at"):
        load_file(tmp_path)


def test_absurdly_large_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tome_zoo.weights.safe_read.MAX_FILE", 10)
    save_file(STATE, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="no model of the zoo"):
        load_file(tmp_path / "w.safetensors")


def test_every_damaged_byte_is_an_error_or_harmless(tmp_path):
    """Files with bytes knocked out give a CheckpointError or tensors, never anything else."""
    torch.save({"model": STATE}, tmp_path / "w.pth")
    good = (tmp_path / "w.pth").read_bytes()
    for position in range(0, len(good), 17):
        (tmp_path / "bad.pth").write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        try:
            loaded = load_file(tmp_path / "bad.pth")
        except CheckpointError:
            continue
        assert all(isinstance(value, torch.Tensor) for value in loaded.values())
