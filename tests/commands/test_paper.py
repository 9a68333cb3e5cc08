"""`tome-zoo paper` on the command line."""

import csv
import json

from tests.commands.test_app import run
from tome_zoo.cards import table_cards


def test_tables_are_listed():
    assert [row["name"] for row in json.loads(run("paper", "--json").stdout)] == list(table_cards())
    text = run("paper").stdout
    assert all(name in text for name in table_cards())


def test_a_table_that_cannot_be_run_is_printed_and_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path / "cache"))
    done = run("paper", "table4", "--output", tmp_path / "out", code=2)
    assert "DynamicViT" in done.stdout
    assert "no row could be run" in done.stderr
    assert len(list(csv.DictReader((tmp_path / "out" / "table4.csv").read_text().splitlines()))) == 6
    assert "nearest: table" in run("paper", "tabel4", code=2).stderr
    assert "names no models" in run("paper", "design_space", code=2).stderr
