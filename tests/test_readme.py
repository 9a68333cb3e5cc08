"""The README's figures are those of the cards, and its commands exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from tome_zoo.cards import model_card
from tome_zoo.commands.app import app

README = (Path(__file__).parent.parent / "README.md").read_text()
ROWS = re.findall(r"^\| `(demo_[\w.]+)` \|[^|]*\| ([\d.]+) % \|(.*)\|$", README, re.MULTILINE)


def test_every_embedded_model_has_a_row():
    assert [name for name, *_ in ROWS] == ["demo_image.shapes", "demo_video.motions", "demo_audio.sounds"]


@pytest.mark.parametrize(("name", "unmerged", "merged"), ROWS)
def test_the_table_shows_what_was_measured(name, unmerged, merged):
    card = model_card(name)
    measured = {figure.r: figure for figure in card.measured}
    scores = {r: figure.map if figure.top1 is None else figure.top1 for r, figure in measured.items()}
    assert f"{scores[0]:.1f}" == unmerged
    shown = re.findall(r"([\d.]+) % \(r = (\d+), ([\d.]+)x fewer\)", merged)
    assert [int(r) for _, r, _ in shown] == [card.merging.default_r, max(scores)]
    for score, r, fewer in shown:
        assert f"{scores[int(r)]:.1f}" == score
        assert f"{measured[0].gmacs / measured[int(r)].gmacs:.1f}" == fewer


@pytest.mark.parametrize("name", ["demo_image.shapes", "demo_video.motions", "demo_audio.sounds"])
def test_the_embedded_models_hold_what_they_promise(name):
    """At least 92 % top-1 or 90 % mAP; at half the MACs at most 3 points less; at the largest r a clear fall."""
    card = model_card(name)
    measured = {figure.r: figure for figure in card.measured}
    scores = {r: figure.map if figure.top1 is None else figure.top1 for r, figure in measured.items()}
    assert scores[0] >= (90 if card.modality == "audio" else 92)
    half = [r for r, figure in measured.items() if figure.gmacs <= 0.51 * measured[0].gmacs]
    assert scores[0] - scores[min(half)] <= 3
    assert scores[0] - scores[max(scores)] >= 5
    assert 140 <= card.architecture.grid[0] * card.architecture.grid[1] * card.architecture.grid[2] <= 400


def test_the_commands_exist():
    named = set(re.findall(r"^tome-zoo ([\w-]+)", README, re.MULTILINE)) | {"demo"}
    assert named <= set(get_command(app).commands)
