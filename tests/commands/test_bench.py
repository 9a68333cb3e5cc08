"""`tome-zoo bench`: what it prints and writes, and how it reads its options."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tome_zoo.benchmark import records
from tome_zoo.commands import app
from tome_zoo.commands.options import read_settings
from tome_zoo.errors import CardError

PNG = b"\x89PNG"


def run(*arguments, code=0):
    result = CliRunner().invoke(app.app, ["bench", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def options(tiny_root):
    return ["--cards", tiny_root / "cards", "--device", "cpu", "--rounds", 1]


def test_prints_tables_and_writes_files(options, tmp_path):
    result = run(
        "tiny_image.test", "efficientnet_b0", "--r", 0, "--r", 2, "--batch-size", 1, "--batch-size", 2,
        "--set", "img_size=64", "--output", tmp_path / "out", *options,
    )  # fmt: skip
    assert result.stdout.count("timm, unmerged") == 4
    assert result.stdout.count("r = 2") == 4
    assert "cannot merge" in result.stderr
    assert "cannot merge" not in result.stdout
    written = records.read(tmp_path / "out")
    assert [record.status for record in written] == ["ok"] * 6 + ["ok", "refused"] * 2
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(PNG)
    assert len((tmp_path / "out" / "bench.csv").read_text().splitlines()) == 11


def test_prints_a_line_of_json_for_each_record(options):
    result = run("tiny_video.test", "--r", "2", "--json", "--dtype", "float32", "--dtype", "bfloat16", *options)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["dtype"], line["r"]) for line in lines] == [
        ("float32", None), ("float32", "2"), ("bfloat16", None), ("bfloat16", "2"),
    ]  # fmt: skip
    assert {"latency_ms", "samples_per_second", "speedup", "limit", "of_limit", "peak_mib", "attention"} <= set(
        lines[0]
    )


def test_trains(options):
    result = run("tiny_audio.test", "--r", 2, "--train", "--checkpointing", *options)
    assert "training, checkpointing" in result.stdout


def test_a_baseline_alone_has_no_picture(options, tmp_path):
    run("efficientnet_b0", "--set", "img_size=32", "--output", tmp_path, *options)
    assert (tmp_path / "bench.jsonl").exists()
    assert not (tmp_path / "bench.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny_imag.test"], "did you mean tiny_image.test"),
        (["tiny_image.test", "--r", "x"], "cannot read r 'x'"),
        (["tiny_image.test", "--batch-size", "0"], "batch-size"),
        (["tiny_image.test", "--set", "imgsize=3"], "did you mean img_size"),
        (["tiny_image.test", "--set", "img_size"], "write FIELD=VALUE"),
        (["tiny_image.test", "--set", "img_size=big"], "img_size"),
        (["tiny_image.test", "--compile-mode", "fast"], "compile-mode"),
        (["tiny_image.test", "--checkpointing"], "--train"),
        (["tiny_video.test", "--set", "num_frames=3"], "not divisible by tubelet_size"),
        ([], "NAME"),
    ],
)
def test_bad_input_is_told_in_a_line(options, arguments, message):
    result = run(*arguments, *options, code=2)
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_damaged_file_is_refused_before_anything_is_timed(options, tmp_path):
    (tmp_path / "bench.jsonl").write_text('{"model": 3}\n')
    result = run("tiny_image.test", *options, "--output", tmp_path, code=2)
    assert "line 1" in result.stderr
    assert result.stdout == ""


def test_nothing_to_time_is_an_error(options, monkeypatch):
    from tome_zoo.benchmark import models

    monkeypatch.setattr(models, "build", lambda *_: 1 / 0)
    assert "nothing could be timed" in run("tiny_image.test", *options, code=2).stderr


@pytest.mark.parametrize(
    ("texts", "settings"),
    [
        ([], [{}]),
        (["img_size=448", "num_frames=32"], [{"img_size": 448, "num_frames": 32}]),
        (["img_size=1024,128"], [{"img_size": [1024, 128]}]),
        (["depth=2", "depth=3", "pool=avg"], [{"depth": 2, "pool": "avg"}, {"depth": 3, "pool": "avg"}]),
        (["class_token=False", "num_frames=none"], [{"class_token": False, "num_frames": None}]),
        (["mlp_ratio=2.5"], [{"mlp_ratio": 2.5}]),
    ],
)
def test_reads_settings(texts, settings):
    assert read_settings(texts) == settings


@pytest.mark.parametrize("text", ["=3", "depth=", "depth"])
def test_refuses_half_a_setting(text):
    with pytest.raises(CardError, match="write FIELD=VALUE"):
        read_settings([text])


def test_help_answers_without_torch():
    code = (
        "import sys; from tome_zoo.commands import app\n"
        "try: app.app(['bench', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "sys.exit(int(bool({'torch', 'timm', 'numpy', 'matplotlib'} & set(sys.modules))))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "--compile-mode" in done.stdout
