"""The demonstration on the tiny zoo: every file it leaves, and nothing scored twice."""

import csv
import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from tome_zoo import cards
from tome_zoo.commands import app
from tome_zoo.demo import run

TINY = ("tiny_image.test", "tiny_video.test", "tiny_audio.test")


@pytest.fixture
def tiny_data(tiny_zoo, monkeypatch):
    folders = {"tiny_things": "image", "tiny_clips": "video", "tiny_sounds": "audio"}

    def give(dataset, root, progress=None):
        if progress is not None:
            progress(1, 1)
        return tiny_zoo / folders[dataset]

    monkeypatch.setattr(run, "write_data", give)


def test_it_leaves_results_table_and_picture(tiny_data, tmp_path):
    told = []
    done = run.run_demo(tmp_path / "out", models=TINY, progress=lambda *step: told.append(step))
    expected = [(name, str(r)) for name in TINY for r in cards.model_card(name).merging.r]
    assert [(result.model, result.r) for result in done.results] == expected
    assert all(result.timm_samples_per_second > 0 for result in done.results)
    lines = [json.loads(line) for line in done.results_file.read_text().splitlines()]
    assert [(line["model"], line["r"]) for line in lines] == expected
    rows = list(csv.DictReader(done.csv_file.read_text().splitlines()))
    assert [(row["model"], row["r"]) for row in rows] == expected
    assert all(float(row["speedup_over_r0"]) > 0 and float(row["speedup_over_timm"]) > 0 for row in rows)
    with Image.open(done.plot_file) as image:
        assert image.format == "PNG"
    page = done.page_file.read_text()
    assert all(f">{name}</h2>" in page for name in TINY)
    assert "95 % interval" in page
    assert {step[2] for step in told} >= set(TINY)
    assert told[-1][:2] == (7, 7)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "results.jsonl", "tradeoff.csv", "tradeoff.png", "report.html",
    }  # fmt: skip


def test_the_command_prints_three_tables(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(run.run_demo, "__kwdefaults__", {**run.run_demo.__kwdefaults__, "models": TINY, "limit": 3})
    shown = CliRunner().invoke(app.app, ["demo", "--output", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    for part in (
        *TINY,
        "over timm",
        "over r=0",
        "GMACs",
        "mAP",
        "tradeoff.png",
        f"to explore, open {tmp_path / 'report.html'}",
    ):
        assert part in shown.stdout
    found = CliRunner().invoke(app.app, ["demo", "--output", str(tmp_path), "--json"])
    assert len(json.loads(found.stdout)) == 7
