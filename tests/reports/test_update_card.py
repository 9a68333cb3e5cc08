"""Measured figures are written into a card, and nothing else is."""

import shutil
import tomllib

import pytest

from tome_zoo.cards import card_folder, model_card
from tome_zoo.errors import CardError
from tome_zoo.reports.update_card import update_card, with_measured

CARDS = '''# A comment above.
[[model]]
name = "one.tag"  # the first
summary = """
[[model]]
is no header here"""

[[model.reported]]
r = 0
top1 = 50.0

[[model.measured]]
r = 0  # of old weights
top1 = 1.0
protocol = "p@1"
weights = "fedcba9876543210"

# About the data.
[[dataset]]
name = "things"

# About the second.
[[model]]
name = 'two.tag'
# The end.
'''


def test_only_the_measured_tables_of_the_model_change(make_result):
    new = with_measured(CARDS, [make_result(model="one.tag", top1=51.5), make_result(model="one.tag", r="8:-1")])
    one, two = tomllib.loads(new)["model"]
    assert [(figure["r"], figure["top1"]) for figure in one["measured"]] == [(0, 51.5), ([8, -1.0], 50.0)]
    assert "measured" not in two
    position = new.index("[[model.measured]]")
    assert new[:position] == CARDS[: CARDS.index("[[model.measured]]")]
    assert new[new.index("# About the data.") :] == CARDS[CARDS.index("# About the data.") :]


def test_a_second_time_changes_nothing_and_other_figures_stay(make_result):
    results = [make_result(model="two.tag", r=r, device='a "b"') for r in ("0", "9,0,4")]
    once = with_measured(CARDS, results)
    assert once.endswith("# The end.\n")
    assert tomllib.loads(once)["model"][1]["measured"][1]["r"] == [9, 0, 4]
    assert with_measured(once, results) == once
    more = with_measured(once, [make_result(model="two.tag", r="4")])
    assert [figure["r"] for figure in tomllib.loads(more)["model"][1]["measured"]] == [0, [9, 0, 4], 4]
    bf16 = with_measured(once, [make_result(model="two.tag", r="0", dtype="bfloat16")])
    assert len(tomllib.loads(bf16)["model"][1]["measured"]) == 3
    other = with_measured(once, [make_result(model="two.tag", r="4", weights="f" * 16)])
    assert [figure["r"] for figure in tomllib.loads(other)["model"][1]["measured"]] == [4]


def test_every_shipped_card_can_be_written(make_result):
    for path in card_folder("models").glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        before = tomllib.loads(text)
        for model in before.get("model", []):
            text = with_measured(text, [make_result(model=model["name"], weights="0" * 16)])
            model["measured"] = tomllib.loads(text)["model"][before["model"].index(model)]["measured"]
            assert [figure["weights"] for figure in model["measured"]] == ["0" * 16]
        assert tomllib.loads(text) == before
        assert [line for line in text.splitlines() if line.startswith("#")] == [
            line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")
        ]


def test_twice_in_one_process_keeps_the_first_figures(tiny_zoo, tmp_path, make_result):
    from tome_zoo import cards

    cards.unregister_cards(tiny_zoo / "cards")
    folder = shutil.copytree(tiny_zoo / "cards", tmp_path / "cards")
    cards.register_cards(folder)
    try:
        path = update_card([make_result(model="tiny_image.test", r="0")])
        assert path == folder / "cards.toml"
        update_card([make_result(model="tiny_image.test", r="8")])
        assert [figure["r"] for figure in tomllib.loads(path.read_text())["model"][0]["measured"]] == [0, 8]
        assert [figure.r for figure in model_card("tiny_image.test").measured] == [0, 8]
    finally:
        cards.unregister_cards(folder)


def test_an_unknown_model_is_named(make_result):
    with pytest.raises(CardError, match=r"three\.tag"):
        with_measured(CARDS, [make_result(model="three.tag")])
    with pytest.raises(CardError, match=r"three\.tag"):
        update_card([make_result(model="three.tag")])


def test_parts_of_a_run_are_refused(make_result):
    with pytest.raises(CardError, match="whole runs"):
        update_card([make_result(limit=3)])
