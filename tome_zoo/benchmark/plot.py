"""The picture of a benchmark: accuracy against measured speed, and speed-up against what the arithmetic allows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tome_zoo.benchmark.records import Record
from tome_zoo.errors import DataError
from tome_zoo.reports.plot import COLOURS, LEAST_SPAN, SCORE_NAMES, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = Callable[[Record], tuple[float, float] | None]
LOG_FROM = 6.0  # fastest over slowest, above which speeds are drawn on a logarithmic axis
MARKERS = "osD^vP"  # with the colours, so that twelve models can be told apart


def plot_benchmark(records: Sequence[Record], path: str | Path) -> Path:
    """Draw what merging gains, a column for each setting (batch size, dtype, mode), a line for each model.

    Above, where cards know an accuracy at an r above 0 that was timed: accuracy against samples a second (hollow:
    timm's unmerged model). Below: the measured speed-up over timm's unmerged model against the limit that
    multiply-accumulates set (dashed: time follows the arithmetic). Points are labelled by r, except r = 0 below.

    Args:
        records: Of any number of models and settings; those without times are left out.
        path: PNG, or any format that matplotlib knows by its suffix.

    Raises:
        DataError: If there is nothing to draw.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kept = [record for record in records if _scored(record) or _gained(record)]
    if not any(record.variant == "merging" for record in kept):
        raise DataError("expected times of a merging model to plot, got none")
    traded = {record.title for record in kept if _scored(record) and record.r not in (None, "0")}
    if traded:  # baselines stand beside them
        traded |= {record.title for record in kept if record.source != "tome-zoo"}
    kept = [replace(record, score=record.score if record.title in traded else None) for record in kept]
    settings = list(dict.fromkeys(record.setting for record in kept))
    names = list(dict.fromkeys(record.title for record in kept))
    looks = {name: _look(number) for number, name in enumerate(names)}
    panels = [panel for panel, point in ((_draw_scores, _scored), (_draw_gains, _gained)) if any(map(point, kept))]
    with rc_context(STYLE):
        size = (4.1 * len(settings) + 0.3, 3.3 * len(panels) + 0.4 + 0.2 * (len(names) + 2) / len(settings))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(panels), len(settings), squeeze=False)
        for column, setting in enumerate(settings):
            members = [record for record in kept if record.setting == setting]
            axes[0, column].set_title(f"{setting}\n{_device(members[0])}", loc="left")
            for row, panel in enumerate(panels):
                panel(axes[row, column], members, looks)
        _legend(figure, looks, len(settings), scored=_draw_scores in panels)
        figure.draw_without_rendering()
        for axis in axes.flat:
            _place_labels(axis)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, metadata={"Software": None} if path.suffix == ".png" else None)
    return path


def _scored(record: Record) -> tuple[float, float] | None:
    if record.score is None or record.samples_per_second is None:
        return None
    return record.samples_per_second, record.score


def _gained(record: Record) -> tuple[float, float] | None:
    if record.variant != "merging" or record.speedup is None or record.limit is None:
        return None
    return record.limit, record.speedup


def _draw_scores(axes: "Axes", members: Sequence[Record], looks: dict[str, dict[str, Any]]) -> None:
    """Accuracy against speed."""
    speeds = [point[0] for record in members if (point := _scored(record))]
    if not speeds:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no accuracy known\nat these r", ha="center", color="#666666", transform=axes.transAxes)
        return
    _lines(axes, members, looks, _scored)
    if max(speeds) > LOG_FROM * min(speeds):
        _plain_log(axes, few=max(speeds) > LOG_FROM**2 * min(speeds))
        axes.set_xlim(min(speeds) / 1.5, 1.5 * max(speeds))
    else:
        axes.set_xlim(0.85 * min(speeds), 1.15 * max(speeds))
    scores = [point[1] for record in members if (point := _scored(record))]
    middle, half = (max(scores) + min(scores)) / 2, max(LEAST_SPAN, 1.4 * (max(scores) - min(scores))) / 2
    axes.set_ylim(middle - half, min(middle + half, 101.5))
    axes.set_xlabel("samples/s measured")
    metrics = sorted({record.metric for record in members if record.metric is not None}, reverse=True)
    axes.set_ylabel(" or ".join(SCORE_NAMES[metric] for metric in metrics) + ", by the card")


def _draw_gains(axes: "Axes", members: Sequence[Record], looks: dict[str, dict[str, Any]]) -> None:
    """Speed-up against its limit; on the diagonal, time follows the arithmetic."""
    points = [point for record in members if (point := _gained(record))]
    if not points:
        axes.set_axis_off()
        return
    _lines(axes, members, looks, _gained)
    low = min(1.0, *(y for _, y in points))
    high = max(limit for limit, _ in points)
    room = 0.15 * (max(high, *(y for _, y in points)) - low + 0.1)
    end = max(high, *(y for _, y in points)) + room
    axes.plot([1, end], [1, end], color="#888888", linestyle="--", linewidth=1, zorder=1)
    axes.axhline(1, color="#bbbbbb", linewidth=1, zorder=1)
    axes.set_xlim(1 - room, high + room)
    axes.set_ylim(low - 0.6 * room, end)
    axes.set_xlabel("fewer multiply-accumulates (times)")
    axes.set_ylabel("speed-up over timm, unmerged (times)")


def _lines(axes: "Axes", members: Sequence[Record], looks: dict[str, dict[str, Any]], point: Point) -> None:
    """A line through the points of each model's merging form; labels wait in `axes.texts` for their place."""
    for name, look in looks.items():
        here = [(record, at) for record in members if record.title == name and (at := point(record))]
        merging = sorted(((at, record) for record, at in here if record.r is not None), key=lambda entry: entry[0])
        if merging:
            xs, ys = zip(*(at for at, _ in merging), strict=True)
            axes.plot(xs, ys, color=look["color"], alpha=0.75, zorder=3)
        for record, (x, y) in here:
            inside = "white" if record.r is None else look["color"]
            edge, width = (look["color"], 1.4) if record.r is None else ("white", 0.9)
            axes.scatter(x, y, s=36, color=inside, edgecolor=edge, linewidth=width, marker=look["marker"], zorder=4)
            if record.r is not None and not (record.r == "0" and point is _gained):
                axes.annotate(
                    record.r, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=8, color=look["color"],
                    zorder=5, in_layout=False, annotation_clip=False,
                )  # fmt: skip


def _place_labels(axes: "Axes") -> None:
    """Move each label beside its point to where it covers neither another one nor a point, or leave it out."""
    from matplotlib import patheffects
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in (axes.transData.transform(text.xy) for text in labels)]
    for label in labels:
        label.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])
        for dx, dy, ha, va in (
            (0, 6, "center", "bottom"), (6, 1, "left", "bottom"), (-6, -1, "right", "top"), (0, -6, "center", "top"),
            (-6, 1, "right", "bottom"), (6, -1, "left", "top"),
        ):  # fmt: skip
            label.set_position((dx, dy))
            label.set(ha=ha, va=va)
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            label.remove()


def _legend(figure: Any, looks: dict[str, dict[str, Any]], columns: int, scored: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], label=name, markersize=6, markeredgecolor="white", **look) for name, look in looks.items()
    ]
    hollow: dict[str, Any] = {"marker": "o", "linestyle": "", "markerfacecolor": "white", "markeredgecolor": "#666666"}
    if scored:
        handles.append(Line2D([], [], label="hollow: unmerged", **hollow))
    handles.append(Line2D([], [], color="#888888", linestyle="--", linewidth=1, label="time follows the arithmetic"))
    figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8, ncols=columns)


def _plain_log(axes: "Axes", few: bool) -> None:
    """A logarithmic x axis that is labelled 20, 50, 100 (with `few` 10, 100) rather than 10^2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if few else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number // len(COLOURS) % len(MARKERS)]}


def _device(record: Record) -> str:
    if not record.device.startswith("cpu"):
        return record.device
    return f"cpu, {record.threads} thread{'' if record.threads == 1 else 's'}"
