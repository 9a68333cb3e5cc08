import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
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


def test_raw_or_averaged_weights_and_another_size(cards, data, tmp_path):
    state = load_file(cards / "image.safetensors")
    averaged = {key: 2 * value for key, value in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged}, tmp_path / "both.pth")
    torch.save(averaged, tmp_path / "averaged.pth")
    rows = []
    for file, *options in (("both", "--no-ema"), ("both", "--ema"), ("averaged",)):
        out = tmp_path / f"{len(rows)}.npz"
        run("embed", "tiny_image.test", data / "val", "-o", out, "--weights", tmp_path / f"{file}.pth",
            "--set", "img_size=48", *options, "--cards", cards)  # fmt: skip
        rows.append(np.load(out)["features"])
    assert np.array_equal(rows[1], rows[2])
    assert not np.allclose(rows[0], rows[1], atol=1e-3)
    torch.save({"state_dict_ema": averaged}, tmp_path / "only.pth")
    told = run("train", "tiny_image.test", "--data", data, "--output", tmp_path / "run", "--weights",
               tmp_path / "only.pth", "--no-ema", "--cards", cards, code=2).stderr  # fmt: skip
    assert "holds averaged weights only" in told


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
