"""Plot of a trade-off: score against multiply-accumulates and measured speed, a column for each model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tome_zoo.errors import DataError
from tome_zoo.evaluation.results import Result
from tome_zoo.reports import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)  # Okabe and Ito: safe for colour-blind eyes
LEAST_SPAN = 3.0  # per cent, of the score axis
SCORE_NAMES = {"top1": "top-1 accuracy (%)", "map": "mAP (%)"}
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#666666",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.6,
}


def plot_tradeoff(results: Sequence[Result], path: str | Path) -> Path:
    """Draw what merging costs and gains, points labelled by r.

    Args:
        results: Of any number of models; each model, data set and protocol gets a column with two panels: score against
            GMACs of a view, and score against samples a second (dashed: timm's unmerged model, if it was timed).
        path: PNG, or any format that matplotlib knows by its suffix.

    Raises:
        DataError: If there is no result.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = tables.group_results(results)
    if not groups:
        raise DataError("expected results to plot, got none")
    with rc_context(STYLE):
        figure = Figure(figsize=(3.7 * len(groups) + 0.4, 6.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, len(groups), squeeze=False)
        for column, group in enumerate(groups):
            first, colour = group[0], COLOURS[column % len(COLOURS)]
            macs, speed = axes[:, column]
            _panel(macs, group, [result.gmacs for result in group], colour)
            _panel(speed, group, [result.samples_per_second for result in group], colour)
            if first.timm_samples_per_second is not None:
                _vertical_line(speed, first.timm_samples_per_second, "timm, unmerged")
            left, right = speed.get_xlim()
            speed.set_xlim(left, right + 0.12 * (right - left))  # room for the labels
            macs.set_title(f"{first.model}\n", fontweight="bold", loc="left", color=colour)
            macs.text(0, 1.03, _subtitle(first), transform=macs.transAxes, fontsize=8, color="#555555")
            macs.set_xlabel("GMACs a view")
            speed.set_xlabel(f"samples/s measured ({first.device.split(' ')[0]}, {first.dtype})")
        figure.draw_without_rendering()
        for column, group in enumerate(groups):
            gains = [record["speedup_over_r0"] for record in tables.rows(group)]
            _label_points(axes[0, column], group, [""] * len(group), side=-1)
            _label_points(
                axes[1, column],
                group,
                [f"  ({gain:.1f}\N{MULTIPLICATION SIGN})" if gain else "" for gain in gains],
                side=1,
            )
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, metadata={"Software": None} if path.suffix == ".png" else None)
    return path


def _panel(axes: "Axes", results: Sequence[Result], xs: list[float], colour: str) -> None:
    """Points, and a line through those with the same r in each block; other schedules are hollow diamonds."""
    ys = [result.score for result in results]
    constant = [result.r.isdecimal() for result in results]
    order = sorted(range(len(results)), key=lambda i: results[i].gmacs)
    joined_by_line = [i for i in order if constant[i]]
    axes.plot([xs[i] for i in joined_by_line], [ys[i] for i in joined_by_line], color=colour, zorder=3, alpha=0.75)
    for x, y, joined in zip(xs, ys, constant, strict=True):
        if joined:
            axes.scatter(x, y, s=36, color=colour, edgecolor="white", linewidth=0.9, zorder=4)
        else:
            axes.scatter(x, y, s=30, color="white", edgecolor=colour, linewidth=1.4, marker="D", zorder=4)
    axes.set_ylabel(SCORE_NAMES[results[0].metric])
    axes.margins(x=0.18, y=0.16)
    low, high = axes.get_ylim()
    if high - low < LEAST_SPAN:  # small differences are not blown up
        axes.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)


def _vertical_line(axes: "Axes", x: float, text: str) -> None:
    """A dashed vertical line with its name along it."""
    axes.axvline(x, color="#666666", linestyle="--", linewidth=1, zorder=2)
    place: Any = {
        "transform": axes.get_xaxis_transform(),
        "rotation": 90,
        "ha": "right",
        "va": "bottom",
        "in_layout": False,
    }
    axes.text(x, 0.03, text + " ", fontsize=7.5, color="#555555", **place)


def _label_points(axes: "Axes", results: Sequence[Result], gains: Sequence[str], side: int) -> None:
    """Write r above the points, to the left (side -1) or right (1) where a falling curve leaves room, else below.

    The outermost points come first; a label that would cover another is left out, and `gains` stand where they fit.
    """
    from matplotlib import patheffects

    halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    points: list[Any] = [np.asarray(collection.get_offsets())[0] for collection in axes.collections]
    placed: dict[int, Any] = {}

    def free(text: Any) -> bool:
        box = text.get_window_extent().expanded(1.1, 1.05)
        return not any(box.overlaps(other.get_window_extent()) for other in placed.values() if other is not text)

    for index in sorted(range(len(results)), key=lambda i: min(i, len(results) - 1 - i)):
        above = (5 * side, 5, "left" if side > 0 else "right", "bottom")
        for dx, dy, ha, va in (above, (0, -6, "center", "top")):
            text = axes.annotate(
                _point_label(results[index]), points[index], xytext=(dx, dy), textcoords="offset points", ha=ha, va=va,
                fontsize=8, color="#222222", zorder=5, path_effects=halo, in_layout=False,
            )  # fmt: skip
            if free(text):
                placed[index] = text
                break
            text.remove()
    for index, text in placed.items():
        if gains[index] and results[index].r != "0" and text.get_va() == "bottom":
            text.set_text(_point_label(results[index]) + gains[index])
            if not free(text):
                text.set_text(_point_label(results[index]))


def _point_label(result: Result) -> str:
    return f"r = {result.r}" if result.r == "0" else result.r


def _subtitle(result: Result) -> str:
    views = "" if result.views == 1 else f", {result.views} views"
    return f"{result.dataset} {result.split}, {result.n_scored:,} samples{views}"
