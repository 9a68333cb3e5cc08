"""A recipe's reducer: trained with, gone on with, said in what is left."""

import pytest

from tome_zoo.errors import TomeZooError
from tome_zoo.training.trainer import train


def test_a_reducer_is_trained_with_and_a_run_of_another_is_not_gone_on_with(shapes, tmp_path, quick):
    settings = {**quick, "recipe": "demo_shapes", "epochs": 1, "warmup_epochs": 0, "r": 20, "device": "cpu"}
    done = train("demo_image.shapes", shapes, output=tmp_path / "run", reducer="random", **settings)
    assert "tokens reduced by random" in (done.folder / "README.md").read_text()
    with pytest.raises(TomeZooError):
        train("demo_image.shapes", shapes, output=tmp_path / "run", reducer="kmeans", resume=True, **settings)
    with pytest.raises(TomeZooError, match="no reducer 'kmean'"):
        train("demo_image.shapes", shapes, output=tmp_path / "other", reducer="kmean", **settings)
    with pytest.raises(TomeZooError, match="class token"):
        train("demo_image.shapes", shapes, output=tmp_path / "other", reducer="topk", **settings)
