"""Tables, CSV and the picture."""

import csv
import io

import pytest
from PIL import Image
from rich.console import Console

from tome_zoo.errors import DataError
from tome_zoo.evaluation.results import Failure, append_results
from tome_zoo.reports import plot, tables
from tome_zoo.reports.comparison import compare, comparison_table, find_results


@pytest.fixture
def results(make_result):
    image = [
        make_result(r=r, top1=top1, top5=99.0, gmacs=gmacs, samples_per_second=speed, timm_samples_per_second=90.0)
        for r, top1, gmacs, speed in (("0", 95.0, 0.02, 100.0), ("8", 94.5, 0.01, 180.0), ("8:-1", 93.0, 0.008, 200.0))
    ]
    return [*image, make_result(model="other.tag", r="4", map=80.0, classes_scored=3, gmacs=1.0)]


def test_ratios_are_of_the_same_group(results):
    rows = tables.rows(results)
    assert [row["speedup_over_r0"] for row in rows] == [1.0, 1.8, 2.0, None]
    assert [row["gmacs_ratio"] for row in rows] == [1.0, 2.0, 2.5, None]
    assert rows[1]["speedup_over_timm"] == 2.0
    assert rows[3]["speedup_over_timm"] is None
    assert [len(members) for members in tables.group_results(results)] == [3, 1]


def test_figures_of_other_weights_are_not_compared(make_result):
    rows = tables.rows([make_result(r="0", weights="a" * 16), make_result(r="8", weights="b" * 16)])
    assert rows[1]["speedup_over_r0"] is None


def test_csv_is_one_stable_line_a_result(results):
    text = tables.to_csv(results)
    assert text == tables.to_csv(results)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == tables.COLUMNS
    assert [row["r"] for row in rows] == ["0", "8", "8:-1", "4"]
    assert (rows[3]["metric"], float(rows[3]["score"]), rows[3]["speedup_over_r0"]) == ("map", 80.0, "")


def test_csv_is_written_to_a_new_folder(results, tmp_path):
    assert tables.write_csv(results, tmp_path / "a" / "b.csv").read_text() == tables.to_csv(results)


def test_a_table_shows_every_r_within_80_columns(results):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.results_table(results[:3]))
    shown = console.export_text()
    for text in ("8:-1", "94.50", "1.80x", "2.22x", "top-1", "8 samples scored", "90.0"):
        assert text in shown
    assert "…" not in shown


def test_a_table_says_when_samples_are_missing(make_result):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(tables.results_table([make_result(n_scored=5, n_failed=3)]))
    shown = console.export_text()
    assert "5 of 8" in shown


def test_failures_are_listed_once(make_result):
    failed = tuple(Failure(f"{i}", "broken") for i in range(12))
    lines = tables.failures([make_result(r="0", failed=failed), make_result(r="8", failed=failed)])
    assert lines[0] == "0: broken"
    assert lines[-1] == "... and 2 more"
    assert len(lines) == 11


def test_the_picture_is_a_png_of_every_model(results, tmp_path):
    path = plot.plot_tradeoff(results, tmp_path / "new" / "tradeoff.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 1400
    again = plot.plot_tradeoff(results, tmp_path / "again.png")
    assert path.read_bytes() == again.read_bytes()


def test_a_picture_where_timm_is_far_off(make_result, tmp_path):
    members = [make_result(r=r, samples_per_second=10.0, timm_samples_per_second=5000.0) for r in ("0", "4")]
    assert plot.plot_tradeoff(members, tmp_path / "x.png").stat().st_size > 10_000


def test_a_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected results"):
        plot.plot_tradeoff([], tmp_path / "x.png")


@pytest.mark.parametrize("other", [{"device": "cuda (H100)"}, {"batch_size": 64}, {"dtype": "bfloat16"}, {"ranks": 8}])
def test_speeds_under_other_conditions_are_not_compared(make_result, other):
    slow, fast = make_result(r="0", samples_per_second=1.0), make_result(r="8", samples_per_second=500.0, **other)
    assert [len(members) for members in tables.group_results([slow, fast])] == [1, 1]
    assert tables.rows([slow, fast])[1]["speedup_over_r0"] is None


def test_results_of_several_devices_stand_beside_each_other(make_result, tmp_path):
    gpu = make_result(r="8", device="cuda (H100)", samples_per_second=500.0, date="2026-02-01T00:00:00+00:00")
    append_results(tmp_path, [make_result(r="0"), make_result(r="8", samples_per_second=180.0), gpu])
    found = find_results(tmp_path)
    assert [(result.device[:4], result.r) for result in found] == [("cpu ", "0"), ("cpu ", "8"), ("cuda", "8")]
    assert [row["speedup_over_r0"] for row in tables.rows(found)] == [1.0, 1.8, None]


def test_names_with_brackets_keep_them(make_result):
    name = "[/tmp] model [abc] :smile:"
    for made in (tables.results_table([make_result(model=name)]), comparison_table(compare([make_result(model=name)]))):
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(made)
        assert name in " ".join(console.export_text().split())
