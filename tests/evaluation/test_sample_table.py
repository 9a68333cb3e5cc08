"""The table of samples against the scores it is made of, and against the figures of the results."""

import csv
import io

import pytest
from typer.testing import CliRunner

from tome_zoo import evaluate, predict
from tome_zoo.commands import app
from tome_zoo.errors import DataError
from tome_zoo.evaluation.sample_table import COLUMNS, sample_rows


@pytest.fixture
def evaluated(tiny_zoo, tmp_path):
    for kind in ("image", "video", "audio"):
        evaluate(f"tiny_{kind}.test", tiny_zoo / kind, r=[0, 2], output=tmp_path / "runs" / kind)
    return tmp_path / "runs"


def test_every_sample_has_its_prediction(evaluated, tiny_zoo):
    from tome_zoo import create_model

    results = evaluate("tiny_image.test", tiny_zoo / "image", r=[0, 2], output=evaluated / "image")
    rows = list(sample_rows(evaluated))
    assert len(rows) == 2 * (22 + 5 + 7)
    for result in results:
        mine = [row for row in rows if (row["model"], row["r"]) == (result.model, result.r)]
        assert 100 * sum(row["correct"] for row in mine) / len(mine) == pytest.approx(result.top1)
    row = next(row for row in rows if row["id"] == "bee/5.png" and row["r"] == "0")
    best = predict(create_model("tiny_image.test", pretrained=True), tiny_zoo / "image" / "val" / "bee" / "5.png")[0]
    assert (row["target"], row["prediction"]) == ("bee", best.label)
    assert row["score"] == pytest.approx(best.probability, abs=1e-6)
    sound = next(row for row in rows if row["model"] == "tiny_audio.test" and row["id"] == "1.wav")
    assert sound["target"] == "Alarm|Bell"
    assert sound["correct"] == (sound["prediction"] in ("Alarm", "Bell"))
    assert list(sample_rows(evaluated, model="tiny_image.test", r="2")) == [
        row for row in rows if (row["model"], row["r"]) == ("tiny_image.test", "2")
    ]


def test_the_command_writes_csv_and_parquet(evaluated, tiny_zoo, tmp_path):
    def run(*options, code=0):
        done = CliRunner().invoke(app.app, ["predictions", str(evaluated), *options])
        assert done.exit_code == code, done.output
        return done

    rows = list(csv.DictReader(io.StringIO(run("--r", "2").stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 34
    run("-o", str(tmp_path / "all.csv"))
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 69
    assert ".parquet" in run("-o", str(tmp_path / "all.xlsx"), code=2).stderr
    parquet = pytest.importorskip("pyarrow.parquet")
    run("-o", str(tmp_path / "all.parquet"))
    assert parquet.read_table(tmp_path / "all.parquet").num_rows == 68


def test_without_results_or_scores_it_says_so(evaluated, tmp_path):
    with pytest.raises(DataError, match="found none"):
        list(sample_rows(tmp_path / "nothing"))
    for path in (evaluated / "image" / "scores").rglob("*.npz"):
        path.unlink()
    with pytest.raises(DataError, match="found none"):
        list(sample_rows(evaluated, model="tiny_image.test"))
