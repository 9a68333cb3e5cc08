"""Data sets that lie on disk in every way, without any media in them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tome_zoo.cards import DatasetCard
from tome_zoo.cards.schema import DATASET_FORMATS

MODALITY = {name: modality for modality, names in reversed(DATASET_FORMATS.items()) for name in names}


@pytest.fixture
def card(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DatasetCard]:
    """Builds a card of one format or several, with its list of class names: `card("video_list", ["a", "b"])`."""

    def build(layout: Any, labels: list[str] | None = None, **fields: Any) -> DatasetCard:
        modality = MODALITY[layout if isinstance(layout, str) else layout[0]]
        if labels is not None:
            path = tmp_path_factory.mktemp("labels") / "labels.json"
            path.write_text(json.dumps(labels))
            fields = {"num_classes": len(labels), "labels": path} | fields
        fields = {"num_classes": 3, "multi_label": modality == "audio"} | fields
        return DatasetCard(**{
            "name": f"some_{modality}s", "modality": modality, "title": "Some", "layout": layout, "license": "none",
            "splits": {"train": "train", "val": "val"}, "origin": "here", "obtain": "make it", **fields,
        })  # fmt: skip

    return build


@pytest.fixture
def touch() -> Callable[..., None]:
    """Makes empty files, with the folders that they lie in."""

    def make(*paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def targets() -> Callable[..., dict[str, Any]]:
    """Sample id -> target; all ids are unique, and relative to them lie the paths."""

    def of(dataset: Any) -> dict[str, Any]:
        found = {sample.id: sample.target for sample in dataset.samples}
        assert len(found) == len(dataset)
        return found

    return of
