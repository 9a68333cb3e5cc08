"""Measured figures are written into a card, and nothing else is."""

import tomllib

import pytest

from tome_zoo.errors import CardError
from tome_zoo.reports import update_card

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
r = 0
top1 = 1.0

# About the second.
[[model]]
name = 'two.tag'

[[dataset]]
name = "things"
# The end.
'''


def test_only_the_measured_tables_change():
    with pytest.raises(CardError, match="unusual way"):
        update_card.replace_measured(CARDS, "one.tag", [{"r": 0, "top1": 51.5}])
    plain = CARDS.replace("[[model]]\nis no", " is no")
    new = update_card.replace_measured(plain, "one.tag", [{"r": 0, "top1": 51.5}, {"r": (8, -1.0), "protocol": 'a"b'}])
    models = tomllib.loads(new)["model"]
    assert models[0]["measured"] == [{"r": 0, "top1": 51.5}, {"r": [8, -1.0], "protocol": 'a"b'}]
    assert "measured" not in models[1]
    for line in ("# A comment above.", "# About the second.", "# The end."):
        assert new.count(line) == 1
    assert new.index("51.5") < new.index("# About the second.") < new.index("two.tag")


def test_the_last_model_of_a_file_and_a_second_time():
    plain = CARDS.replace("[[model]]\nis no", " is no")
    once = update_card.replace_measured(plain, "two.tag", [{"r": [9, 0, 4], "n_failed": 0}])
    assert once.index("n_failed") < once.index("[[dataset]]")
    assert update_card.replace_measured(once, "two.tag", [{"r": [9, 0, 4], "n_failed": 0}]) == once
    assert tomllib.loads(update_card.replace_measured(once, "two.tag", [])) == tomllib.loads(plain)


def test_an_unknown_model_is_named():
    with pytest.raises(CardError, match=r"three\.tag"):
        update_card.replace_measured(CARDS, "three.tag", [])


def test_parts_of_a_run_are_refused(make_result):
    with pytest.raises(CardError, match="whole runs"):
        update_card.update_card([make_result(limit=3)])
