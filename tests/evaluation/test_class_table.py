"""The table of classes against scikit-learn and against the figures of the results."""

import csv
import io

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from tome_zoo import evaluate
from tome_zoo.commands import app
from tome_zoo.evaluation.class_table import COLUMNS, class_rows
from tome_zoo.evaluation.metrics import d_prime, multi_hot
from tome_zoo.evaluation.score_store import read_scores
from tome_zoo.evaluation.stored import class_names, find_stored, open_scored


def test_accuracy_of_each_class_makes_up_the_whole(tiny_zoo, tmp_path):
    results = evaluate("tiny_image.test", tiny_zoo / "image", r=[0, 2], output=tmp_path)
    for result in results:
        rows = list(class_rows(tmp_path, r=result.r))
        assert [row["class"] for row in rows] == ["ant", "bee", "cow", "dog"]
        assert sum(row["samples"] * row["accuracy"] for row in rows) / 22 == pytest.approx(result.top1)
        assert {row["average_precision"] for row in rows} == {None}


def test_average_precision_and_auc_of_each_class(tiny_zoo, tmp_path):
    (result,) = evaluate("tiny_audio.test", tiny_zoo / "audio", r=[4], output=tmp_path)
    ((_, folder),) = find_stored(tmp_path)
    ids, scores = read_scores(folder)
    dataset = open_scored(result, folder)
    targets = {sample.id: sample.target for sample in dataset.samples}
    table = multi_hot([targets[name] for name in ids], 3)
    rows = list(class_rows(tmp_path))
    assert [row["class"] for row in rows] == ["Alarm", "Bell"]
    for c, row in enumerate(rows):
        assert row["samples"] == table[:, c].sum()
        assert row["average_precision"] == pytest.approx(100 * average_precision_score(table[:, c], scores[:, c]))
        assert row["auc"] == pytest.approx(100 * roc_auc_score(table[:, c], scores[:, c]))
        assert row["d_prime"] == (pytest.approx(d_prime(row["auc"])) if 0 < row["auc"] < 100 else None)
    assert np.mean([row["average_precision"] for row in rows]) == pytest.approx(result.map)
    assert np.mean([row["auc"] for row in rows]) == pytest.approx(result.auc)


def test_the_command_writes_it(tiny_zoo, tmp_path):
    evaluate("tiny_audio.test", tiny_zoo / "audio", r=[0], output=tmp_path)
    done = CliRunner().invoke(app.app, ["predictions", str(tmp_path), "--per-class"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["class"] for row in rows] == ["Alarm", "Bell"]


def test_classes_of_ones_own_stand_in_the_order_of_the_scores(tiny_zoo, tmp_path):
    """Whichever of them the folders hold: what the model calls its classes is stored beside the scores."""
    from tome_zoo import create_model
    from tome_zoo.weights.save import save_weights

    model = create_model("tiny_image.test", pretrained=True)
    weights = tmp_path / "own.safetensors"
    save_weights(model, weights, classes=["dog", "cow", "bee", "ant"], dataset="image_folder")
    data = tmp_path / "data"
    (data / "val").mkdir(parents=True)
    for name in ("bee", "dog"):
        (data / "val" / name).symlink_to(tiny_zoo / "image" / "val" / name)
    evaluate("tiny_image.test", data, weights=weights, output=tmp_path / "out")
    ((result, folder),) = find_stored(tmp_path / "out")
    dataset = open_scored(result, folder)
    assert class_names(dataset, 4) == ("dog", "cow", "bee", "ant")
    assert {sample.target for sample in dataset.samples} == {0, 2}
    rows = {row["class"]: row for row in class_rows(tmp_path / "out")}
    assert set(rows) == {"bee", "dog"}
    ids, scores = read_scores(folder)
    best = scores.argmax(axis=1)
    for name, index in (("dog", 0), ("bee", 2)):
        own = [row for row, sample in enumerate(ids) if sample.startswith(name)]
        assert rows[name]["accuracy"] == pytest.approx(100 * np.mean(best[own] == index))
