"""Charts of a trade-off: score against multiply-accumulates and against throughput, measured and reported."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tome_zoo.evaluation.confidence import Interval
from tome_zoo.reports.comparison import Comparison
from tome_zoo.reports.page.svg import ACCENT, INK, LINE, PAPER, SOFT, inline_svg
from tome_zoo.reports.plot import LEAST_SPAN, SCORE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (4.3, 3.1)  # inches: on a phone a point is about a pixel
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


class Chart(NamedTuple):
    """A chart: `svg` for sighted readers, whose points have the ids NAME-point-0, 1, ...; `label` says it in words."""

    name: str
    svg: str
    label: str


def tradeoff_charts(name: str, compared: Sequence[Comparison], intervals: Sequence[Interval | None]) -> list[Chart]:
    """Score against GMACs of a view, and against samples a second.

    Filled points are measured, bars their 95 % intervals; hollow points are reported, at the GMACs that were reported
    (or else counted here) and at the speed that was measured here; the dashed line is timm's unmerged model.

    Args:
        name: Unique in the page.
        compared: The results of one group.
        intervals: Of each score.
    """
    results = [item.result for item in compared]
    reported_gmacs = [(item.reported and item.reported.gmacs) or item.result.gmacs for item in compared]
    speeds = [result.samples_per_second for result in results]
    axes = (
        ("gmacs", "GMACs a view", [result.gmacs for result in results], reported_gmacs, None),
        ("speed", "samples/s", speeds, speeds, results[0].timm_samples_per_second),
    )
    return [
        _chart(f"{name}-{kind}", label, xs, hollow, compared, intervals, line) for kind, label, xs, hollow, line in axes
    ]


def _chart(
    name: str,
    label: str,
    xs: Sequence[float],
    hollow_xs: Sequence[float],
    compared: Sequence[Comparison],
    intervals: Sequence[Interval | None],
    timm_speed: float | None,
) -> Chart:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metric = compared[0].result.metric
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_xlabel(label)
        axes.set_ylabel(SCORE_NAMES[metric])
        _draw(axes, xs, hollow_xs, compared, intervals)
        if timm_speed is not None:
            axes.axvline(timm_speed, color=SOFT, linestyle="--", linewidth=1, zorder=1)
            axes.text(
                timm_speed, 0.02, " timm, unmerged", transform=axes.get_xaxis_transform(), rotation=90, ha="right",
                va="bottom", fontsize=9.5, color=SOFT, in_layout=False,
            )  # fmt: skip
        _set_limits(axes)
        figure.draw_without_rendering()
        _label_points(axes, xs, compared)
        svg = inline_svg(figure, name)
    return Chart(name, svg, f"{SCORE_NAMES[metric]} against {label} at {len(xs)} settings of r")


def _draw(
    axes: "Axes",
    xs: Sequence[float],
    hollow_xs: Sequence[float],
    compared: Sequence[Comparison],
    intervals: Sequence[Interval | None],
) -> None:
    order = sorted(range(len(xs)), key=lambda index: compared[index].result.gmacs)
    joined = [(xs[i], compared[i].result.score) for i in order if compared[i].result.r.isdecimal()]
    if joined:
        axes.plot(*zip(*joined, strict=True), color=ACCENT, linewidth=1.5, alpha=0.6, zorder=2)
    for index, (x, hollow_x, item, interval) in enumerate(zip(xs, hollow_xs, compared, intervals, strict=True)):
        score = item.result.score
        if interval is not None:
            axes.plot([x, x], interval, color=ACCENT, linewidth=1.2, alpha=0.8, zorder=3)
        axes.scatter(
            x, score, s=44, color=ACCENT, edgecolor=PAPER, zorder=5,
            marker="o" if item.result.r.isdecimal() else "D", gid=f"point-{index}",
        )  # fmt: skip
        if item.reported is not None:
            value = getattr(item.reported, item.result.metric)
            axes.scatter(hollow_x, value, s=44, color="none", edgecolor=INK, linewidth=1.3, zorder=4)


def _label_points(axes: "Axes", xs: Sequence[float], compared: Sequence[Comparison]) -> None:
    """Write r beside the points, the outermost first, where it covers neither another label nor a point."""
    from matplotlib.transforms import Bbox

    places = [axes.transData.transform((x, item.result.score)) for x, item in zip(xs, compared, strict=True)]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in places]
    for index in sorted(range(len(xs)), key=lambda i: min(i, len(xs) - 1 - i)):
        r = compared[index].result.r
        for dx, dy, ha, va in (
            (5, 4, "left", "bottom"), (5, -4, "left", "top"), (-5, 4, "right", "bottom"), (-5, -4, "right", "top"),
        ):  # fmt: skip
            label = axes.annotate(
                "r = 0" if r == "0" else r, (xs[index], compared[index].result.score), xytext=(dx, dy), ha=ha, va=va,
                textcoords="offset points", fontsize=9.5, color=INK, zorder=6, in_layout=False,
            )  # fmt: skip
            box = label.get_window_extent()
            if len(r) <= 8 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _set_limits(axes: "Axes") -> None:
    """Room for labels, and no small difference blown up."""
    axes.margins(x=0.14, y=0.12)
    axes.autoscale_view()
    low, high = axes.get_ylim()
    if high - low < LEAST_SPAN:
        low, high = (low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2
    axes.set_ylim(max(low, -1), min(high, 101))
