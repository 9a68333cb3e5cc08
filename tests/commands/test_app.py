"""The commands: what they print, how they exit, and what they do not import."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tome_zoo import __version__
from tome_zoo.cards import baseline_cards, model_cards
from tome_zoo.commands import app
from tome_zoo.evaluation import evaluator

ROOT = Path(app.__file__).parents[2]


@pytest.fixture
def cards(tiny_root):
    return str(tiny_root / "cards")


def run(*arguments, code=0):
    result = CliRunner().invoke(app.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    if code == 2:
        assert "Traceback" not in result.output
    return result


def python(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def imported_by(*arguments):
    code = (
        "import sys; from tome_zoo.commands import app\n"
        f"try: app.app({list(arguments)!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('MODULES', *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split("MODULES")[1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("eval", "--help"), ("--version",), ("list",), ("list", "--json")])
def test_help_and_list_answer_without_torch(arguments):
    assert not {"torch", "timm", "numpy", "matplotlib", "sklearn"} & imported_by(*arguments)


def test_help_names_every_command():
    text = run("--help").stdout
    for name in ("list", "info", "predict", "eval", "explore", "demo", "train", "embed", "fetch"):
        assert f" {name} " in text


def test_version():
    assert run("--version").stdout == f"tome-zoo {__version__}\n"


def test_list_as_json_and_as_a_table():
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == [*sorted(model_cards()), *sorted(baseline_cards())]
    assert [row["merges"] for row in rows] == [True] * len(model_cards()) + [False] * len(baseline_cards())
    assert {"modality", "dataset", "license", "parameters", "score_r0", "score_default_r"} <= set(rows[0])
    table = run("list").stdout
    assert all(name in table for name in (*model_cards(), *baseline_cards()))


def test_list_filters_by_pattern_and_modality():
    names = [row["name"] for row in json.loads(run("list", "*mae*", "--modality", "audio", "--json").stdout)]
    assert names == sorted(n for n, card in model_cards().items() if "mae" in n and card.modality == "audio")
    assert names
    assert json.loads(run("list", "nothing*", "--json").stdout) == []
    run("list", "--modality", "smell", code=2)


def test_a_folder_of_cards_joins_in_and_leaves_again(cards):
    assert "tiny_image.test" in run("list", "--cards", cards).stdout
    assert "tiny_image.test" in run("--cards", cards, "list").stdout
    assert "tiny_image.test" in run("--cards", cards, "list", "--cards", cards).stdout
    assert "tiny_image.test" not in model_cards()
    assert "no_such_folder" in run("list", "--cards", "no_such_folder", code=2).stderr


def test_info_tells_the_card_tokens_and_macs(cards):
    data = json.loads(run("info", "tiny_image.test", "--cards", cards, "--json").stdout)
    assert [row["r"] for row in data["merging"]] == ["0", "2", "4"]
    assert data["merging"][1]["tokens"] == [15, 13, 11]
    assert data["weights"]["cached"] is True
    text = run("info", "tiny_image.test", "--cards", cards, "--r", "0:6:3", "--r", "4:-1").stdout
    for part in ("tiny_things", "image_center_crop@1", "4:-1", "GMACs", "13", "at hand"):
        assert part in text


def test_an_unknown_name_shows_the_nearest_ones():
    for command in (["info"], ["predict"], ["eval", "--data", "."], ["fetch"]):
        name = ["vit_large_patch16_224.mae_ft_in1"]
        result = run(*command, *name, *(["x.png"] if command == ["predict"] else []), code=2)
        assert "vit_large_patch16_224.mae_ft_in1k" in result.stderr
        assert result.stdout == ""
        assert len(result.stderr.strip().splitlines()) == 1


def test_predict_prints_labels(cards, tiny_root):
    files = sorted((tiny_root / "image").rglob("*.png"))[:2]
    found = json.loads(run("predict", "tiny_image.test", *files, "--cards", cards, "--r", "2", "--json").stdout)
    assert [entry["file"] for entry in found] == [str(file) for file in files]
    assert {item["label"] for item in found[0]["predictions"]} == {"ant", "bee", "cow", "dog"}
    assert sum(item["probability"] for item in found[0]["predictions"]) == pytest.approx(1)
    text = run("predict", "tiny_image.test", files[0], "--cards", cards, "--top-k", "1").stdout
    assert text.count("%") == 1


def test_predict_goes_on_behind_a_broken_file(cards, tiny_root, tmp_path):
    broken, whole = tmp_path / "broken.png", next((tiny_root / "image").rglob("*.png"))
    broken.write_text("no picture")
    result = run("predict", "tiny_image.test", broken, whole, "--cards", cards, "--json", code=2)
    entries = json.loads(result.stdout)
    assert "broken.png" in entries[0]["error"]
    assert entries[1]["predictions"]
    assert "broken.png" in result.stderr


def test_predict_with_a_file_of_weights(cards, tiny_root):
    image, weights = next((tiny_root / "image").rglob("*.png")), tiny_root / "cards" / "image.safetensors"
    base = ("predict", "tiny_image.test", image, "--cards", cards, "--json")
    assert json.loads(run(*base, "--weights", weights).stdout) == json.loads(run(*base).stdout)
    wrong = tiny_root / "cards" / "audio.safetensors"
    assert "audio.safetensors" in run(*base, "--weights", wrong, code=2).stderr


def test_predict_takes_one_r_only(cards):
    assert "one r" in run("predict", "tiny_image.test", "x.png", "--cards", cards, "--r", "0:8:4", code=2).stderr


def test_eval_prints_a_table_and_writes_lines(cards, tiny_root, tmp_path):
    arguments = ("eval", "tiny_image.test", "--cards", cards, "--data", tiny_root / "image", "--output", tmp_path)
    text = run(*arguments, "--r", "0", "--r", "2:4:2", "--r", "4:-1", "--r", "3,0,1").stdout
    for part in ("4:-1", "3,0,1", "top-1", "1.00x", "22 samples scored"):
        assert part in text
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["r"] for line in lines] == ["0", "2", "4", "4:-1", "3,0,1"]
    wanted = {
        "model",
        "r",
        "protocol",
        "top1",
        "top5",
        "gmacs",
        "samples_per_second",
        "n_expected",
        "n_scored",
        "n_failed",
    }
    assert all(wanted <= set(line) for line in lines)


def test_eval_without_r_takes_the_cards_and_json_goes_to_stdout(cards, tiny_root, tmp_path):
    result = run(
        "eval", "tiny_audio.test", "--cards", cards, "--data", tiny_root / "audio", "--output", tmp_path, "--json",
        "--batch-size", "2", "--device", "cpu", "--dtype", "bfloat16", "--workers", "0", "--limit", "5",
    )  # fmt: skip
    rows = json.loads(result.stdout)
    assert [row["r"] for row in rows] == ["0", "4"]
    assert (rows[0]["n_expected"], rows[0]["dtype"], rows[0]["limit"]) == (5, "bfloat16", 5)
    assert "map" in rows[0]


def test_eval_with_failed_samples_exits_with_1_unless_allowed(cards, tiny_root, tmp_path):
    (tmp_path / "val.csv").write_text("0.mp4 0\ngone.mp4 1\n")
    (tmp_path / "0.mp4").write_bytes((tiny_root / "video" / "0.mp4").read_bytes())
    arguments = ("eval", "tiny_video.test", "--cards", cards, "--data", tmp_path, "--output", tmp_path / "out")
    result = run(*arguments, code=1)
    assert "gone.mp4" in result.stderr
    assert "1 of 2 samples scored" in result.stdout
    run(*arguments, "--allow-missing")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--r", "-1"), "at least 0"),
        (("--r", "1,1,1,1"), "4 entries for 3 blocks"),
        (("--r", "8:nan"), "between -1.0 and 1.0"),
        (("--r", "eight"), "cannot read r"),
        (("--protocol", "image_centre_crop"), "image_center_crop"),
        (("--split", "test"), "no split"),
        (("--device", "gpu"), "device"),
        (("--weights", "nowhere.pth"), "nowhere.pth"),
        (("--update-card", "--limit", "3"), "--limit"),
        (("--dtype", "int8"), "int8"),
        (("--batch-size", "0"), "batch-size"),
    ],
)
def test_mistakes_exit_with_2(cards, tiny_root, tmp_path, extra, message):
    arguments = ("eval", "tiny_image.test", "--cards", cards, "--data", tiny_root / "image", "--output", tmp_path)
    assert message in run(*arguments, *extra, code=2).stderr
    assert not (tmp_path / "results.jsonl").exists()


def test_eval_of_an_encoder_names_the_way_out(cards, tiny_root, tmp_path):
    arguments = ("eval", "tiny_encoder.test", "--cards", cards, "--data", tiny_root / "image", "--output", tmp_path)
    assert "weights" in run(*arguments, code=2).stderr


def test_ctrl_c_exits_with_130_and_says_what_is_kept(cards, tiny_root, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluator, "run_batches", interrupt)
    arguments = ("eval", "tiny_image.test", "--cards", cards, "--data", tiny_root / "image", "--output", tmp_path)
    assert "kept" in run(*arguments, code=130).stderr


def test_report_shows_measured_beside_reported(cards, tiny_root, tmp_path, make_result):
    from tome_zoo.evaluation.results import append_results

    name = "vit_large_patch16_224.mae_ft_in1k"
    append_results(
        tmp_path / "a", [make_result(model=name, r="8", top1=80.0), make_result(model=name, r="8", top1=84.0)]
    )
    append_results(tmp_path / "b", [make_result(model=name, r="3", top1=85.0), make_result(model="of.nobody")])
    found = json.loads(run("report", tmp_path, "--json").stdout)
    by_r = {(entry["model"], entry["r"]): entry for entry in found}
    assert len(found) == 3
    assert by_r[name, "8"]["top1"] == 84.0
    assert by_r[name, "8"]["reported"]["top1"] == 84.22
    assert by_r[name, "8"]["difference"] == pytest.approx(-0.22)
    assert "reported" not in by_r[name, "3"]
    page = tmp_path / "page.html"
    table = run("report", tmp_path, "--csv", tmp_path / "all.csv", "--plot", tmp_path / "all.png", "-o", page).stdout
    for text in ("84.00", "84.22", "-0.22", "none reported"):
        assert text in table
    assert (tmp_path / "all.csv").stat().st_size > 0
    assert (tmp_path / "all.png").stat().st_size > 0
    assert f">{name}</h2>" in page.read_text()
    older = make_result(model=name, r="8", top1=10.0, date="2020-01-01T00:00:00+00:00")
    append_results(tmp_path / "z", [older, make_result(model=name, r="8", top1=84.1, protocol="other@1")])
    found = json.loads(run("report", tmp_path, "--json").stdout)
    assert {entry["top1"] for entry in found if entry["r"] == "8"} == {84.0, 84.1}, "the latest of each protocol"
    assert "the card's protocol is" in " ".join(run("report", tmp_path / "z").stdout.split())
    (tmp_path / "empty").mkdir()
    assert "no results.jsonl" in run("report", tmp_path / "empty", code=2).stderr


def test_update_card_writes_what_was_measured(tiny_root, tmp_path):
    folder = tmp_path / "cards"
    folder.mkdir()
    for path in (tiny_root / "cards").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    arguments = ("eval", "tiny_image.test", "--cards", folder, "--data", tiny_root / "image", "--output", tmp_path)
    rows = json.loads(run(*arguments, "--r", "0", "--r", "4:-1", "--update-card", "--json").stdout)
    models = {model["name"]: model for model in tomllib.loads((folder / "cards.toml").read_text())["model"]}
    measured = models["tiny_image.test"]["measured"]
    assert [figure["r"] for figure in measured] == [0, [4, -1.0]]
    for figure, row in zip(measured, rows, strict=True):
        assert figure["top1"] == pytest.approx(row["top1"], rel=1e-5)
        assert figure["protocol"] == "image_center_crop@1"
        assert (figure["n_expected"], figure["n_failed"], figure["weights"]) == (22, 0, row["weights"])
    assert "measured" not in models["tiny_audio.test"]
    run(*arguments, "--r", "2", "--r", "0", "--update-card")
    data = json.loads(run("info", "tiny_image.test", "--cards", folder, "--json").stdout)
    assert [figure["r"] for figure in data["measured"]] == ["4:-1", "2", "0"]
    listed = json.loads(run("list", "tiny_image*", "--cards", folder, "--json").stdout)
    assert listed[0]["score_r0"] == pytest.approx(rows[0]["top1"], rel=1e-5)


def test_fetch_prints_where_the_weights_are(cards, tiny_root):
    assert run("fetch", "tiny_image.test", "--cards", cards).stdout.strip().endswith("image.safetensors")
    assert run("fetch", "tiny_image.test", "--force", "--cards", cards).stdout.strip().endswith("image.safetensors")
    assert "names no weights" in run("fetch", "tiny_encoder.test", "--cards", cards, code=2).stderr


def test_a_path_that_cannot_be_written_is_a_line(cards, tiny_root, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    result = run("eval", "tiny_image.test", "--cards", cards, "--data", tiny_root / "image", "--output", out, code=2)
    assert "file" in result.stderr


def test_verbose_talks_on_stderr_only(cards, tiny_root, tmp_path):
    arguments = (
        "-v",
        "eval",
        "tiny_image.test",
        "--cards",
        cards,
        "--data",
        tiny_root / "image",
        "--limit",
        "2",
        "--json",
    )
    json.loads(run(*arguments, "--output", tmp_path).stdout)


def test_an_encoder_is_refused_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path / "cache"))
    name = "video_vit_large_patch16_224.mae_st_k400"
    for arguments in (("predict", name, tmp_path / "x.mp4"), ("eval", name, "--data", tmp_path)):
        assert "bring a fine-tuned file" in run(*arguments, code=2).stderr
    assert not (tmp_path / "cache").exists()
