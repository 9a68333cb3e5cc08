from types import MappingProxyType

import pytest

from tome_zoo import create_model, demo
from tome_zoo.demo.retrain import retrain
from tome_zoo.errors import DataError


def test_from_nothing_to_weights_that_load(tmp_path, monkeypatch):
    small = demo.Recipe("shapes", {"train": 20, "val": 10}, {"batch_size": 10, "augment": ("flip",)})
    monkeypatch.setattr("tome_zoo.demo.RECIPES", MappingProxyType({"demo_image.shapes": small}))
    monkeypatch.setattr("tome_zoo.demo.retrain.RECIPES", MappingProxyType({"demo_image.shapes": small}))
    said = set()
    output = tmp_path / "new.safetensors"
    result = retrain(
        "demo_image.shapes", output, data=tmp_path / "data", epochs=1, progress=lambda done, total, what: said.add(what)
    )
    assert result.output == output
    assert len(result.history) == 1
    assert {"writing shapes train", "writing shapes val", "decoding train", "decoding val"} <= said
    create_model("demo_image.shapes", weights=output)
    written = (tmp_path / "data" / "val" / "star" / "00008.png").stat().st_mtime_ns
    retrain("demo_image.shapes", output, data=tmp_path / "data", epochs=0.5)
    assert (tmp_path / "data" / "val" / "star" / "00008.png").stat().st_mtime_ns == written
    (tmp_path / "data" / "train" / "star" / "00008.png").unlink()
    with pytest.raises(DataError, match="found 19"):
        retrain("demo_image.shapes", output, data=tmp_path / "data", epochs=0.5)


def test_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"demo_image\.shapes"):
        retrain("vit_base", tmp_path / "x.safetensors")
