"""Data sets as they lie on disk, and the decoding of their samples."""

import json
import pickle
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from tome_zoo.cards import DatasetCard
from tome_zoo.data.dataset import Dataset, Sample, SampleViews, open_dataset
from tome_zoo.errors import CardError, DataError
from tome_zoo.modalities.inputs import AudioInput, ImageInput
from tome_zoo.transformer.architecture import Architecture

ONE_VIEW = SimpleNamespace(temporal_views=1, spatial_views=1)


def card(modality: str, folder: Path, labels: list[str]) -> DatasetCard:
    """A data set card, with its list of labels written to `folder`."""
    (folder / "labels.json").write_text(json.dumps(labels))
    return DatasetCard(
        name=f"some_{modality}s", modality=modality, title="Some", labels=folder / "labels.json", license="none",
        layout={"image": "image_folder", "audio": "audioset_json"}[modality], splits={"train": "train", "val": "val"},
        num_classes=len(labels), multi_label=modality == "audio", origin="here", obtain="make it",
    )  # fmt: skip


def test_the_split_that_is_meant(tmp_path):
    some = card("image", tmp_path, ["a"])
    for split in ("val", "train"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / f"{split}.png").touch()
    assert [sample.id for sample in open_dataset(tmp_path, some).samples] == ["a/val.png"]
    assert [sample.id for sample in open_dataset(str(tmp_path), some, "train").samples] == ["a/train.png"]
    only = some.model_copy(update={"splits": {"train": ("train",)}})
    assert open_dataset(tmp_path, only).split == "train"
    two = some.model_copy(update={"splits": {"train": ("train",), "test": ("test",)}})
    with pytest.raises(DataError, match="no split 'val', expected one of train, test"):
        open_dataset(tmp_path, two)


def test_the_number_of_classes_is_the_cards_or_that_of_the_names(tmp_path):
    some = card("image", tmp_path, ["a", "b"])
    sample = Sample("a", Path("a"), 0)
    assert Dataset(some, tmp_path, "val", (sample,), ()).num_classes == 2
    counted = some.model_copy(update={"num_classes": None})
    assert Dataset(counted, tmp_path, "val", (sample,), ("a", "b", "c")).num_classes == 3


# Decoding -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path) -> Dataset:
    """Six images, of which the second is missing, the third is text and the fifth truncated."""
    some = card("image", tmp_path, ["a", "b"])
    rng = np.random.default_rng(0)
    (tmp_path / "val" / "a").mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / "a" / f"{number}.png")
    dataset = open_dataset(tmp_path, some)
    dataset.samples[1].path.unlink()
    dataset.samples[2].path.write_text("no image")
    dataset.samples[4].path.write_bytes(dataset.samples[4].path.read_bytes()[:1000])
    return dataset


@pytest.fixture
def spec() -> SimpleNamespace:
    architecture = Architecture(embed_dim=8, depth=1, num_heads=1, num_classes=2, patch_size=4, img_size=32)
    return SimpleNamespace(architecture=architecture, input=ImageInput(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files_do_not_stop_the_others(pictures, spec, workers):
    views = SampleViews(pictures, spec, ONE_VIEW)
    assert len(views) == 6
    loader = DataLoader(Subset(views, [5, 4, 3, 2, 1, 0]), batch_size=None, num_workers=workers)
    found = list(loader)
    assert [index for index, _, _ in found] == [5, 4, 3, 2, 1, 0]
    for index, tensor, error in found:
        if index in (1, 2, 4):
            assert tensor is None
            assert f"{index}.png" in error
        else:
            assert tensor.shape == (1, 3, 32, 32)
            assert error is None


def test_views_can_be_pickled(pictures, spec):
    copy = pickle.loads(pickle.dumps(SampleViews(pictures, spec, ONE_VIEW)))
    assert torch.equal(copy[0][1], SampleViews(pictures, spec, ONE_VIEW)[0][1])


def test_a_surprised_decoder_counts_as_a_bad_file(pictures, spec, monkeypatch):
    monkeypatch.setattr("tome_zoo.modalities.image.views", lambda *_: 1 / 0)
    index, views, error = SampleViews(pictures, spec, ONE_VIEW)[0]
    assert (index, views) == (0, None)
    assert error.endswith("0.png: cannot be decoded (ZeroDivisionError: division by zero)")


def test_what_no_other_file_would_mend_is_raised(pictures, spec):
    with pytest.raises(CardError, match="spatial_views must be 1"):
        SampleViews(pictures, spec, SimpleNamespace(temporal_views=1, spatial_views=3))[0]
    spec.input = AudioInput(mean=0.0, std=1.0)
    with pytest.raises(CardError, match="ImageInput"):
        SampleViews(pictures, spec, ONE_VIEW)[0]


def test_sounds_are_decoded_by_their_modality(tmp_path):
    some = card("audio", tmp_path, ["bell"])
    entries = [{"wav": "a.wav", "labels": "bell"}, {"wav": "b.wav", "labels": ""}]
    (tmp_path / "val.json").write_text(json.dumps({"data": entries}))
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.random.default_rng(0).integers(-9999, 9999, 16000, dtype=np.int16).tobytes())
    architecture = Architecture(
        embed_dim=8, depth=1, num_heads=1, num_classes=1, patch_size=16, img_size=(96, 32), in_chans=1
    )
    spec = SimpleNamespace(architecture=architecture, input=AudioInput(mean=-4.0, std=4.0))
    views = SampleViews(open_dataset(tmp_path, some), spec, ONE_VIEW)
    assert views[0][1].shape == (1, 1, 96, 32)
    assert views[1][1] is None
    assert "no such file" in views[1][2]


def test_samples_are_frozen_and_comparable():
    assert Sample("a", Path("a"), 1) == Sample("a", Path("a"), 1)
    with pytest.raises(AttributeError):
        Sample("a", Path("a"), 1).target = 2
