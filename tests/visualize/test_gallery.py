"""The README's pictures: they exist, are small, and are what its commands draw."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tome_zoo.commands.app import app
from tome_zoo.demo import write_data

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PICTURES = re.findall(r"!\[[^\]]{20,}\]\((\.github/pictures/[\w.]+)\)", README)
COMMANDS = [shlex.split(line) for line in re.findall(r"^- `tome-zoo (show [^`]+)`", README, re.MULTILINE)]


def test_every_picture_is_there_and_shown_and_all_are_small():
    there = {f".github/pictures/{path.name}" for path in (ROOT / ".github/pictures").iterdir()}
    assert set(PICTURES) == there
    assert sum((ROOT / path).stat().st_size for path in PICTURES) < 1_500_000


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[-1])
def test_a_picture_is_what_its_command_draws(command, tmp_path, monkeypatch):
    dataset = command[2].split("/")[1]
    number = int(Path(command[2]).stem)
    write_data(dataset, tmp_path / "data" / dataset, split="val", count=number + 1)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, command).exit_code == 0
    with Image.open(command[-1]) as drawn, Image.open(ROOT / ".github/pictures" / command[-1]) as shown:
        assert drawn.size == shown.size
        one, other = (np.asarray(picture.convert("RGB").reduce(4)).astype(int) for picture in (drawn, shown))
    assert (np.abs(one - other) > 40).mean() < 0.01  # fonts and lines of another release may lie a pixel aside
