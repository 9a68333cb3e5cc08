import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tome_zoo.commands.app import app


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def data(tiny_root, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / split).symlink_to(tiny_root / "image" / "val")
    return tmp_path / "data"


@pytest.fixture
def cards(tiny_root):
    return tiny_root / "cards"


def test_what_was_trained_is_evaluated_as_any_other(cards, data, tmp_path):
    output = tmp_path / "run"
    base = ("--cards", cards, "--data", data, "--json")
    options = ("--epochs", 1, "--batch-size", 8, "--accum", 1, "--r", 2, "--r", 4, "--workers", 0, "--evaluations", 1)
    done = json.loads(run("train", "tiny_image.test", *base, "--output", output, *options).stdout)
    assert done["model"] == "tiny_image.run"
    assert [result["r"] for result in done["results"]] == ["0", "2", "4"]
    rows = json.loads(
        run("eval", done["model"], *base, "--cards", done["cards"], "--r", 2, "--output", tmp_path / "out").stdout
    )
    assert rows[0]["top1"] == pytest.approx(done["results"][1]["top1"])
    assert "holds a run already" in run("train", "tiny_image.test", *base, "--output", output, code=2).stderr


def test_without_data_it_is_for_the_embedded_models(cards, tmp_path):
    assert "--data" in run("train", "tiny_image.test", "--cards", cards, "--output", tmp_path / "x", code=2).stderr


def test_features_and_probes(cards, data, tmp_path):
    result = run("embed", "tiny_image.test", data / "val", "-o", tmp_path / "f.npz", "--r", 4, "--cards", cards)
    assert "22 rows of 16" in result.stdout
    assert np.load(tmp_path / "f.npz")["features"].shape == (22, 16)
    probe = ("embed", "tiny_image.test", "--data", data, "--probe", "knn", "--cards", cards, "--json")
    rows = json.loads(run(*probe, "--r", 0, "--r", 4).stdout)
    assert [row["r"] for row in rows] == ["0", "4"]
    assert rows[0]["score"] == 100  # both splits are the same files
    for arguments, message in (
        ((), "FOLDER"),
        ((data / "val",), "-o"),
        ((data / "val", "--probe", "knn"), "--data"),
    ):
        assert message in run("embed", "tiny_image.test", *arguments, "--cards", cards, code=2).stderr
