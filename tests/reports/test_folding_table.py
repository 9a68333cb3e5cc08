"""Tables in 80 columns: what says what a row is stands in every part, and no figure is cut."""

import io

import pytest
from rich.console import Console

from tome_zoo.benchmark.records import Record
from tome_zoo.benchmark.tables import table as benchmark_table
from tome_zoo.cards import model_cards
from tome_zoo.reports import cards, comparison, tables
from tome_zoo.reports.folding_table import FoldingTable

NAME = "video_vit_large_patch16_224.mae_st_k400"


def lines(table, width):
    console = Console(width=width, file=io.StringIO(), record=True, markup=False, emoji=False)
    console.print(table)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_every_cell_is_there_in_every_width(width):
    made = FoldingTable(keys=1, title="title", caption="caption")
    for name in ("key", *(f"column{i}" for i in range(12))):
        made.add_column(name, no_wrap=name != "key")
    for row in range(3):
        made.add_row(f"row{row}", *(f"{row}.{i:04d}" for i in range(12)))
    shown = lines(made, width)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    for row in range(3):
        for i in range(12):
            (line,) = (line for line in shown if f"{row}.{i:04d}" in line)
            assert f"row{row}" in line
    assert text.count("title") == text.count("caption") == 1
    parts = text.count("row0")
    assert parts == 1 if width == 160 else parts > 1


@pytest.fixture
def results(make_result):
    several = {"model": NAME, "timm_samples_per_second": 10.0, "top1_interval": (48.1, 52.3)}
    return [make_result(r=r, device="cuda (NVIDIA H100 80GB HBM3)", **several) for r in ("0", "65", "65:-1", "9," * 24)]


def test_tables_of_results(results):
    for made in (tables.results_table(results), comparison.comparison_table(comparison.compare(results[:3]))):
        shown = lines(made, 80)
        text = "\n".join(shown)
        assert max(map(len, shown)) <= 80
        assert "…" not in text
        for figure in ("50.00", "65:-1", "100"):
            assert figure in text
    assert "48.1 to 52.3" in text
    assert "1.00x" in "\n".join(lines(tables.results_table(results), 80))


def test_table_of_models():
    found = list(model_cards().values())
    shown = lines(cards.overview_table(found), 80)
    assert max(map(len, shown)) <= 80
    text = "".join(line.strip() for line in shown)
    for card in found:
        assert card.name[:30] in text
        if (row := cards.overview(card))["score_r0"] is not None:
            assert f"{row['score_r0']:.2f}" in text


def test_table_of_a_benchmark(tmp_path):
    from tome_zoo.benchmark import benchmark

    records: list[Record] = [
        record for cell in benchmark(["demo_image.shapes"], r=[8], rounds=1, explicit=True) for record in cell
    ]
    shown = lines(benchmark_table(records), 80)
    text = "\n".join(shown)
    assert max(map(len, shown)) <= 80
    for record in records:
        assert f"{record.samples_per_second:.4g}"[:4] in text
    assert text.count("timm, unmerged") > 1
