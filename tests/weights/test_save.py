"""Files of weights that say of which model they are: what is written is what is read, and it suffices."""

import json
import struct

import pytest
import timm
import torch
from safetensors import safe_open

import tome_zoo
from tome_zoo.errors import CardError, CheckpointError
from tome_zoo.weights.metadata import WeightsMetadata, read_metadata
from tome_zoo.weights.save import save_weights


def test_a_model_of_own_classes_needs_nothing_but_its_file(tiny_zoo, tmp_path):
    """Another number of classes, another depth, and names with accents: all of it is in the file."""
    names = ("café", "Zürich, city", "日本")
    model = tome_zoo.create_model("tiny_image.test", num_classes=3, depth=2)
    path = save_weights(model, tmp_path / "deeper" / "own.safetensors", classes=names, dataset="image_folder")
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    assert header["model"] == "tiny_image.test"
    assert json.loads(header["classes"]) == list(names)
    assert json.loads(header["architecture"]) == {"depth": 2, "num_classes": 3}
    assert (header["dataset"], header["format"], "protocol" in header) == ("image_folder", "pt", False)
    loaded = tome_zoo.create_model("tiny_image.test", weights=path)
    assert loaded.labels == names
    assert (loaded.card.architecture.depth, loaded.card.dataset) == (2, "image_folder")
    assert loaded.card.classes == names
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(loaded(x), model.half().float()(x))
    assert not list((tmp_path / "deeper").glob(".*"))
    again = save_weights(loaded, tmp_path / "again.safetensors")
    assert read_metadata(again) == read_metadata(path)


def test_what_is_asked_for_comes_before_what_the_file_says(tiny_zoo, tmp_path):
    model = tome_zoo.create_model("tiny_image.test", num_classes=3)
    path = save_weights(model, tmp_path / "own.safetensors", classes="abc")
    encoder = tome_zoo.create_model("tiny_image.test", weights=path, num_classes=0)
    assert (encoder.num_classes, encoder.labels) == (0, ())
    other = tome_zoo.create_model("tiny_image.test", weights=path, num_classes=4)
    assert other.labels == ("ant", "bee", "cow", "dog"), "of another number of classes the data set's own card knows"
    with pytest.raises(CardError, match="embed_dim 15 is not divisible"):
        tome_zoo.create_model("tiny_image.test", weights=path, embed_dim=15)


@pytest.mark.parametrize("patched", [False, True])
def test_a_timm_model_states_its_name_shape_and_classes(tmp_path, patched):
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=3).eval()
    if patched:
        tome_zoo.patch(model, r=1)
    path = save_weights(model, tmp_path / "own.safetensors", classes=["a", "b", "c"], dtype=torch.float32)
    x = torch.randn(2, 3, 64, 64)
    found = tome_zoo.create_model(read_metadata(path).model, weights=path)
    assert found.labels == ("a", "b", "c")
    found.r = int(patched)
    torch.testing.assert_close(found(x), model(x))
    save_weights(torch.nn.Linear(2, 2), tmp_path / "other.safetensors")
    assert read_metadata(tmp_path / "other.safetensors") == WeightsMetadata()


def test_a_model_without_changes_states_its_name_alone(tiny_zoo, tmp_path):
    model = tome_zoo.create_model("tiny_image.test")
    assert read_metadata(save_weights(model, tmp_path / "w.safetensors")) == WeightsMetadata(model="tiny_image.test")
    plain = save_weights(torch.nn.Linear(2, 2), tmp_path / "plain.safetensors", dtype=torch.float32)
    assert read_metadata(plain) == WeightsMetadata()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("classes", '{"a": 1}', "list of names"), ("classes", '["a", 1]', "list of names"),
     ("classes", "[", "list of names"), ("architecture", "[1]", "JSON object")],
)  # fmt: skip
def test_damaged_metadata_is_refused_by_name(tmp_path, key, value, message):
    header = json.dumps({"__metadata__": {key: value}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4))
    with pytest.raises(CheckpointError, match=rf"bad\.safetensors: .*{key}.*{message}"):
        read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff" * 8 + b"{}", b"<html>", b"12345678{"])
def test_a_file_that_says_nothing_is_left_to_whoever_loads_it(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert read_metadata(tmp_path / "f") == WeightsMetadata()
    assert read_metadata(tmp_path / "none") == WeightsMetadata()
