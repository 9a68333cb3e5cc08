"""Records in files and tables."""

import csv
import json

import pytest

from tome_zoo.benchmark import benchmark, records, tables
from tome_zoo.errors import DataError


def run(*names, **options):
    """All cells, two rounds each."""
    return list(benchmark(names, **{"device": "cpu", "rounds": 2, **options}))


def test_records_survive_the_file(tiny_zoo, tmp_path):
    cells = run("tiny_image.test", r=(2, (2, -1.0)), overrides=({"img_size": [64, 32]},))
    for cell in cells:
        path = records.append(tmp_path / "new", cell)
    records.append(tmp_path / "new", cells[0])
    assert [json.loads(line)["r"] for line in path.read_text().splitlines()] == [None, "2", "2:-1"] * 2
    assert records.read(tmp_path / "new") == cells[0] * 2
    with (tmp_path / "new" / records.CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["r"] for row in rows] == ["", "2", "2:-1"] * 2
    assert rows[1]["overrides"] == "img_size=64x32"
    assert rows[1]["input"] == "3x64x32"
    assert float(rows[1]["latency_ms"]) == cells[0][1].latency_ms
    with path.open("a") as file:
        file.write('{"model": "left by a run that was ki')
    assert records.read(path) == cells[0] * 2
    records.append(tmp_path / "new", cells[0])
    assert records.read(path) == cells[0] * 3
    path.write_text('{"model": 3}\n')
    with pytest.raises(DataError, match="line 1: not a record"):
        records.read(path)
    with pytest.raises(DataError, match="expected records"):
        records.read(tmp_path / "nothing")


def shown(table):
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_table_shows_the_figures(tiny_zoo):
    (cell,) = run("tiny_image.test", r=(0, 2, [1, 1, 1, 1]), batch_sizes=(3,))
    text = shown(tables.table(cell))
    assert "tiny_image.test: batch 3, float32" in text
    rows = [line.split() for line in text.splitlines()]
    (row,) = [row for row in rows if row[:3] == ["r", "=", "2"]]
    assert row[3] == str(cell[2].tokens_out)
    assert f"{cell[2].speedup:.2f}x" in row
    assert f"{cell[2].limit:.2f}x" in row
    assert any(row[:2] == ["timm,", "unmerged"] for row in rows)
    assert "refused" in next(line for line in text.splitlines() if "1,1,1,1" in line)
    assert "2 rounds" in text
    assert "inputs 3 x 32 x 32" in text
    assert tables.failures(cell) == [
        "tiny_image.test, r = 1,1,1,1 (batch 3, float32): refused: r has 4 entries for 3 blocks: give at most 3, "
        "got [1, 1, 1, 1]"
    ]


def test_the_table_says_whose_scores_it_shows():
    (cell,) = run("deit_small_patch16_224.fb_in1k", r=(0, 13), rounds=1)
    text = shown(tables.table(cell))
    assert "top-1: reported by the card; the weights timed here are random" in " ".join(text.split())
    assert any(line.rstrip().endswith("card's") for line in text.splitlines())
    assert "score" not in text


def test_failures_are_joined():
    cells = run("efficientnet_b0", r=(4, 8), batch_sizes=(1, 2), overrides=({"img_size": 32},), rounds=1)
    (line,) = tables.failures(record for cell in cells for record in cell)
    expected = "efficientnet_b0.ra_in1k img_size=32, r = 4, r = 8 (batch 1, float32; batch 2, float32): refused:"
    assert line.startswith(expected)
