"""What the picture of a benchmark shows."""

import dataclasses

import pytest

from tome_zoo.benchmark import records
from tome_zoo.benchmark.plot import plot_benchmark
from tome_zoo.errors import DataError

PNG = b"\x89PNG"


def record(**fields):
    return records.Record(
        **{
            "model": "a", "source": "tome-zoo", "variant": "merging", "r": "8", "overrides": {}, "batch_size": 1,
            "dtype": "float32", "mode": "inference", "compile": None, "device": "cpu (x)", "threads": 1, "torch": "2",
            "timm": "1", "version": "0", "date": "d", "limit": 1.5, "speedup": 1.4, "samples_per_second": 10.0,
            **fields,
        }
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written."""
    from matplotlib.figure import Figure

    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), savefig(self, *a, **k))[1])
    return figures


def test_the_picture_has_a_panel_for_scores_where_the_cards_know_any(tmp_path, drawn):
    base = record(variant="unmerged", r=None, score=80.0, metric="top1", limit=1.0, speedup=1.0)
    same = record(r="0", score=80.0, metric="top1", limit=1.0, speedup=0.99, samples_per_second=9.9)
    fast = record(score=79.0, metric="top1", samples_per_second=14.0)
    other = record(model="b", batch_size=64, samples_per_second=500.0)
    plot_benchmark([base, same, fast, other], tmp_path / "new" / "a.png")
    plot_benchmark([base, same, dataclasses.replace(fast, score=None)], tmp_path / "b.svg")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(PNG)
    with_scores, without = drawn
    assert len(with_scores.axes) == 4  # two batch sizes, scores and gains
    assert len(without.axes) == 1
    scores = with_scores.axes[0]
    assert [tuple(line.get_xdata()) for line in scores.lines] == [(9.9, 14.0)]
    assert [tuple(line.get_ydata()) for line in scores.lines] == [(80.0, 79.0)]
    assert {text.get_text() for text in scores.texts} == {"0", "8"}
    gains = without.axes[0]
    assert tuple(gains.lines[0].get_xdata()) == (1.0, 1.5)
    assert tuple(gains.lines[0].get_ydata()) == (0.99, 1.4)
    assert {text.get_text() for text in gains.texts} == {"8"}


def test_speeds_far_apart_are_drawn_on_a_logarithmic_axis(tmp_path, drawn):
    plot_benchmark(
        [record(score=80.0, metric="top1"), record(model="b", score=40.0, metric="map", samples_per_second=900.0)],
        tmp_path / "a.png",
    )
    assert drawn[0].axes[0].get_xscale() == "log"
    assert "mAP" in drawn[0].axes[0].get_ylabel()
    assert "top-1" in drawn[0].axes[0].get_ylabel()


def test_nothing_merging_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="expected times of a merging model"):
        plot_benchmark([record(variant="unmerged", r=None, score=80.0, metric="top1")], tmp_path / "a.png")
