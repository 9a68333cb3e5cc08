"""The picture of a table: measured beside printed, as dots a row or as curves over GMACs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tome_zoo.cards import TableCard
from tome_zoo.paper.entries import Entry
from tome_zoo.reports.plot import COLOURS, SCORE_NAMES, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HOLLOW: dict[str, Any] = {"facecolor": "white", "edgecolor": "#666666", "linewidth": 1.3}


def plot_table(card: TableCard, entries: Sequence[Entry], path: Path) -> Path:
    """Draw a table; a panel for each model that stands in for the table's own.

    Args:
        card: Of the table.
        entries: Its rows, of which those with neither a printed nor a measured score are left out.
        path: PNG, or any format that matplotlib knows by its suffix.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    shown = [entry for entry in entries if entry.score is not None or entry.printed is not None]
    own = not any(entry.cell.substituted for entry in shown)
    panels = [shown] if own else [
        [e for e in shown if e.cell.model == m] for m in dict.fromkeys(e.cell.model for e in shown)
    ]  # fmt: skip
    panels = [panel for panel in panels if panel]
    if not panels:
        raise ValueError("expected scores to draw, got none")
    dots = card.picture == "dots"
    with rc_context(STYLE):
        lines = max(len(_labels(panel)) for panel in panels)
        height = 1.7 + 0.21 * lines if dots else 4.6
        figure = NewFigure(figsize=(max(7.2, 5.4 * len(panels)), height), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(card.title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            (_draw_dots if dots else _draw_curves)(axes, panel)
            if not own:
                axes.set_title(str(panel[0].cell.model), loc="left")
        _legend(figure)
        figure.savefig(path, dpi=160, metadata={"Software": None} if path.suffix == ".png" else None)
    return path


def _labels(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(part, choice) of each line, in order."""
    return list(dict.fromkeys((entry.cell.row.part, entry.cell.row.choice) for entry in entries))


def _draw_dots(axes: "Axes", entries: Sequence[Entry]) -> None:
    """A line for each choice; a colour for each part of the multiply-accumulates that is left."""
    labels = _labels(entries)
    shares = sorted({e.cell.row.macs for e in entries if e.cell.row.macs is not None}, reverse=True)
    position, y = {}, 0.0
    for number, (part, choice) in enumerate(labels):
        y += 0.5 if number and labels[number - 1][0] != part else 0
        position[part, choice] = y
        y += 1
    for entry in entries:
        row = entry.cell.row
        y = position[row.part, row.choice]
        if entry.printed is not None:
            axes.scatter(entry.printed, y, s=34, zorder=3, label="printed", **HOLLOW)
        if entry.score is not None:
            place = shares.index(row.macs) if row.macs in shares else None
            colour = "#222222" if place is None else COLOURS[place % len(COLOURS)]
            label = "measured" if row.macs is None else f"{100 * row.macs:.0f} % of the MACs"
            y += 0 if place is None else 0.22 * (place - (len(shares) - 1) / 2)
            axes.errorbar(
                entry.score, y, xerr=entry.spread, fmt="o", markersize=4.5, color=colour, elinewidth=1.2, zorder=4,
                label=label,
            )  # fmt: skip
    axes.set_yticks(list(position.values()), [f"{part}: {choice}".strip(": ") for part, choice in position])
    axes.set_ylim(max(position.values()) + 0.7, -0.7)
    axes.tick_params(axis="y", labelsize=7.5, length=0)
    axes.set_xlabel(SCORE_NAMES[entries[0].metric])


def _draw_curves(axes: "Axes", entries: Sequence[Entry]) -> None:
    """Score over GMACs, a colour for each part: printed hollow and thin, measured filled."""
    for number, part in enumerate(dict.fromkeys(entry.cell.row.part for entry in entries)):
        colour = COLOURS[number % len(COLOURS)]
        mine = [entry for entry in entries if entry.cell.row.part == part]
        sets = (
            ("printed", [(_gmacs(e), e.printed) for e in mine if e.printed is not None], "white"),
            ("measured", [(_gmacs(e), e.score) for e in mine if e.score is not None], colour),
        )
        named = False
        for kind, points, inside in sets:
            placed = sorted((x, y) for x, y in points if x is not None and y is not None)
            if placed:
                xs, ys = zip(*placed, strict=True)
                axes.plot(
                    xs, ys, color=colour, marker="o", markersize=4.5, markerfacecolor=inside, markeredgewidth=1.1,
                    linewidth=0.9 if kind == "printed" else 1.6, label=None if named else part,
                )  # fmt: skip
                named = True
    axes.set_xscale("log")
    axes.set_xlabel("GMACs of one view (hollow: printed, filled: measured)")
    axes.set_ylabel(SCORE_NAMES[entries[0].metric])
    _plain_ticks(axes)


def _gmacs(entry: Entry) -> float | None:
    return entry.gmacs if entry.gmacs is not None else entry.cell.row.gmacs


def _plain_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: "Figure") -> None:
    """One legend for all panels, each label once."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", frameon=False, fontsize=8,
        ncols=min(len(handles), 3 * len(figure.axes)),
    )  # fmt: skip
