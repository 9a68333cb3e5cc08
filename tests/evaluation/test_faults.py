"""A list of which every fifth file is no good: exact counts, an exit code, and the scores of the others as ever."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from tome_zoo import evaluate
from tome_zoo.commands import app
from tome_zoo.evaluation.score_store import read_scores

NAME = "tiny_video.test"
FAULTS = ("2.mp4", "7.mp4", "12.mp4", "17.mp4")


@pytest.fixture
def clips(tiny_zoo, tmp_path):
    """Folders of 20 clips, `good` and `bad`; in the latter one is missing, one half, one empty, and one a sound."""
    for kind in ("good", "bad"):
        (tmp_path / kind).mkdir()
        for number in range(20):
            shutil.copy(tiny_zoo / "video" / f"{number % 5}.mp4", tmp_path / kind / f"{number}.mp4")
        lines = "".join(f"{number}.mp4 {number % 4}\n" for number in range(20))
        (tmp_path / kind / "val.csv").write_text(lines)
    missing, half, empty, sound = (tmp_path / "bad" / name for name in FAULTS)
    missing.unlink()
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    empty.write_bytes(b"")
    shutil.copy(tiny_zoo / "audio" / "0.wav", sound)
    return tmp_path


@pytest.mark.parametrize("extra", [(), ("--allow-missing",), ("--workers", "1")])
def test_every_fifth_file_is_no_good(clips, tiny_zoo, extra):
    out = clips / "out"
    arguments = ["eval", NAME, "--data", clips / "bad", "--output", out, "--r", "0:3:2"]
    told = CliRunner().invoke(app.app, [*map(str, arguments), "--batch-size", "2", "--json", *extra])
    if not isinstance(told.exception, SystemExit | None):
        raise told.exception
    assert told.exit_code == (0 if "--allow-missing" in extra else 1), told.output
    rows = json.loads(told.stdout)
    assert [row["r"] for row in rows] == ["0", "2"]
    for row in rows:
        assert (row["n_expected"], row["n_scored"], row["n_failed"]) == (20, 16, 4)
        assert [failure["id"] for failure in row["failed"]] == list(FAULTS)
        assert all(failure["reason"] for failure in row["failed"])
    assert "could not be scored: 4" in " ".join(told.stderr.split())
    evaluate(NAME, clips / "good", r=[0, 2], batch_size=2, output=clips / "whole")
    for name in ("out", "whole"):
        assert len(list((clips / name / "scores").iterdir())) == 2
    by_r = {
        name: [dict(zip(*read_scores(next((clips / name / "scores").glob(f"*-r{r}-*"))), strict=True)) for r in (0, 2)]
        for name in ("out", "whole")
    }
    for bad, good in zip(by_r["out"], by_r["whole"], strict=True):
        assert set(good) - set(bad) == set(FAULTS)
        for sample, row in bad.items():
            np.testing.assert_array_equal(row, good[sample])
