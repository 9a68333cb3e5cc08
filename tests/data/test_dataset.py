"""Data sets as they lie on disk."""

import json
from pathlib import Path

import pytest

from tome_zoo.cards import DatasetCard
from tome_zoo.data.dataset import Dataset, Sample, open_dataset
from tome_zoo.errors import DataError


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


def test_samples_are_frozen_and_comparable():
    assert Sample("a", Path("a"), 1) == Sample("a", Path("a"), 1)
    with pytest.raises(AttributeError):
        Sample("a", Path("a"), 1).target = 2
