import pytest

from tome_zoo import create_model
from tome_zoo.demo import retrain as module
from tome_zoo.demo.retrain import retrain
from tome_zoo.errors import DataError

QUICK = {"epochs": 1, "batch_size": 10, "accum": 1, "eval_r": [0], "workers": 0, "evaluations": 1}


def test_from_nothing_to_weights_that_load(tmp_path, monkeypatch):
    monkeypatch.setattr("tome_zoo.demo.COUNTS", {"shapes": {"train": 20, "val": 10}})
    monkeypatch.setattr(module, "COUNTS", {"shapes": {"train": 20, "val": 10}})
    said = set()
    done = retrain(
        "demo_image.shapes", tmp_path / "run", data=tmp_path / "data", progress=lambda *told: said.add(told[2]), **QUICK
    )
    assert done.steps == 2
    assert {"writing shapes train", "writing shapes val"} <= said
    create_model("demo_image.shapes", weights=done.folder / "model.safetensors")
    written = (tmp_path / "data" / "val" / "star" / "00008.png").stat().st_mtime_ns
    retrain("demo_image.shapes", tmp_path / "again", data=tmp_path / "data", **QUICK)
    assert (tmp_path / "data" / "val" / "star" / "00008.png").stat().st_mtime_ns == written
    (tmp_path / "data" / "train" / "star" / "00008.png").unlink()
    with pytest.raises(DataError, match="found 19"):
        retrain("demo_image.shapes", tmp_path / "third", data=tmp_path / "data", **QUICK)


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"demo_image\.shapes"):
        retrain("vit_base", tmp_path / "x")
