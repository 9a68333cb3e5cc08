"""`tome-zoo show` as a user types it."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from tome_zoo.commands.app import app
from tome_zoo.demo import write_data


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["show", *map(str, words)])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = write_data("shapes", tmp_path_factory.mktemp("own"), split="val", count=2)
    return sorted(root.rglob("*.png"))


def test_one_command_gives_a_picture_of_ones_own_file(run, pictures, tmp_path):
    result = run("demo_image.shapes", pictures[0])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{pictures[0].stem}-groups.png"
    with Image.open(tmp_path / f"{pictures[0].stem}-groups.png") as written:
        assert written.width > 3 * 384  # the input, r = 0 and the card's r


def test_rows_of_files_and_columns_of_blocks(run, pictures, tmp_path):
    result = run("demo_image.shapes", *pictures, "--r", "8:-1", "--block", "all", "--attention", "-o", "out/all.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out/all.png") as written:
        assert written.width > 5 * 384


def test_an_unreadable_file_is_told_and_the_others_are_drawn(run, pictures, tmp_path):
    (tmp_path / "torn.png").write_bytes(pictures[0].read_bytes()[:200])
    result = run("demo_image.shapes", "torn.png", pictures[1], "-o", "out.png")
    assert result.exit_code == 2
    assert "torn.png" in result.stderr
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--block", "0"], "counted from 1"),
        (["--block", "9"], "block should be 1 to 4"),
        (["-o", "out.jpg"], "ends in .png"),
        (["-o", "out.mp4"], "only videos play"),
        (["--listen", "out.wav"], "one sound at a time"),
        (["--r", "-1"], "r"),
    ],
)
def test_mistakes_end_in_one_line_and_no_file(run, pictures, tmp_path, words, message):
    result = run("demo_image.shapes", pictures[0], *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_drawn_file_is_never_overwritten(run, pictures):
    before = pictures[0].read_bytes()
    result = run("demo_image.shapes", pictures[0], "-o", pictures[0])
    assert result.exit_code == 2
    assert "overwrite" in result.stderr
    assert pictures[0].read_bytes() == before


def test_a_sound_to_hear(run, tmp_path, tmp_path_factory):
    root = write_data("sounds", tmp_path_factory.mktemp("own"), split="val", count=1)
    (sound,) = root.rglob("*.wav")
    result = run("demo_audio.sounds", sound, "--r", "64", "-o", "p.html", "--listen", "left.wav")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == ["p.html", "left-original.wav", "left.wav"]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in result.stdout.split())
