"""What the commands print is what they were given."""

import logging
import sys

import pytest
from rich.table import Table

from tome_zoo.commands import console

NAMES = ("Title [abc].mp4", "[/tmp]", "[red]no colour[/red] :smile:")


@pytest.mark.parametrize("name", NAMES)
def test_brackets_and_colons_stay(name, capsys):
    table = Table("column")
    table.add_row(name)
    console.show(name, table)
    console.note(name)
    with console.progress_bar(name) as progress:
        progress(1, 2, name)
    shown = capsys.readouterr()
    assert shown.out.count(name) == 2
    assert shown.err == f"{name}\n"


def test_a_long_path_stays_on_its_line(capsys):
    path = "/".join(["a folder"] * 40)
    console.show(path)
    console.note(path)
    assert capsys.readouterr() == (f"{path}\n", f"{path}\n")


def test_the_progress_bar_takes_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with console.progress_bar("x") as progress:
        progress(1, 2, "[/tmp] [abc]")
    assert "[/tmp] [abc]" in capsys.readouterr().err


def test_the_log_takes_names_as_they_are(capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    console._log(1)
    logging.getLogger("tome_zoo").info("%s", "[/tmp] [abc]")
    assert "[/tmp] [abc]" in capsys.readouterr().err
