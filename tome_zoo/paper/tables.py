"""Tables of a terminal: the cards, a table measured beside printed, and accuracy at equal measured time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from tome_zoo.benchmark.tables import METRICS
from tome_zoo.cards import TableCard
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.paper.entries import Entry
from tome_zoo.reports.folding_table import FoldingTable
from tome_zoo.reports.numbers import format_number, format_percent, format_ratio

EQUAL_COLUMNS = ("model", "reducer", "budget", "time_left", "score")


def list_table(cards: Iterable[TableCard]) -> Table:
    """A line for each card."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("table", "what", "rows", "source"):
        made.add_column(name, overflow="fold", justify="right" if name == "rows" else "left")
    for card in cards:
        made.add_row(
            card.name, Text(card.title), str(len(card.filled_rows)), Text(card.source or "a grid of this package")
        )
    return made


def measured_table(card: TableCard, entries: Sequence[Entry]) -> Table:
    """The rows of one model, or of a whole table, measured beside printed."""
    caption = card.summary + (f" Printed speeds: {card.device}." if card.device else "")
    made = FoldingTable(
        title=Text(card.title, style="bold"), caption=Text(caption), title_justify="left", caption_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False, keys=3,
    )  # fmt: skip
    timed = any(entry.speedup is not None for entry in entries)
    shared = any(entry.reduction_share is not None for entry in entries)
    several = any(entry.spread is not None for entry in entries)
    printed = any(entry.printed is not None for entry in entries)
    for name in ("part", "choice", "r"):
        made.add_column(name, overflow="fold", min_width=min(5, len(name)))
    metric = f"{METRICS[entries[0].metric]} %"
    names = (
        [f"printed\n{metric}"] * printed + [f"measured\n{metric}"] + ["differ-\nence"] * printed + ["spread"] * several
    )
    names += ["GMACs", "MACs\nleft", "samples\n/s"] + ["printed\n/s"] * printed
    names += ["speed-\nup"] * timed + ["reduc-\ning"] * shared
    for name in names:
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("not run, because", overflow="fold")
    part = None
    for entry in entries:
        row = entry.cell.row
        cells = [_percent(entry.printed)] * printed + [_percent(entry.score)]
        cells += ["" if entry.difference is None else f"{entry.difference:+.2f}"] * printed
        cells += ["" if entry.spread is None else f"{entry.spread:.2f}"] * several
        cells += [format_number(entry.gmacs), format_percent(entry.macs_left), format_number(entry.samples_per_second)]
        cells += [format_number(row.speed)] * printed
        cells += [format_ratio(entry.speedup)] * timed + [format_percent(entry.reduction_share)] * shared
        made.add_row(
            "" if row.part == part else Text(row.part), Text(row.choice), entry.cell.text, *cells, entry.reason
        )
        part = row.part
    return made


@dataclass(frozen=True)
class EqualTime:
    """Score of a reducer where it takes a given part of the unmerged model's time, between the r that were run.

    Attributes:
        budget: What takes that time: "bipartite at r = 36".
        time_left: Part of the unmerged model's time.
        score: In per cent; None where the reducer was never that fast.
    """

    model: str
    reducer: str
    budget: str
    time_left: float
    score: float | None


def equal_time(entries: Sequence[Entry]) -> list[EqualTime]:
    """Scores at the times that bipartite matching takes at each of its r; nothing unless times and scores are known."""
    found = []
    for model in dict.fromkeys(entry.cell.model for entry in entries if entry.cell.model):
        mine = [e for e in entries if e.cell.model == model and e.score is not None and e.speedup and _plain(e)]
        whole = next((e.score for e in mine if e.cell.text == "0"), None)
        if whole is None:
            continue
        curves: dict[str, dict[str, tuple[float, float]]] = {}
        for entry in mine:
            if entry.cell.text != "0" and entry.score is not None and entry.speedup:
                curves.setdefault(entry.cell.row.reducer, {})[entry.cell.text] = (1 / entry.speedup, entry.score)
        for text, (time_left, _) in sorted(curves.get(DEFAULT_REDUCER, {}).items(), key=lambda item: -item[1][0]):
            for reducer, points in curves.items():
                score = _at(time_left, [(1.0, whole), *points.values()])
                found.append(EqualTime(str(model), reducer, f"{DEFAULT_REDUCER} at r = {text}", time_left, score))
    return found


def equal_time_table(found: Sequence[EqualTime]) -> Table:
    """One model: a line a reducer, a column a budget."""
    budgets = {item.budget: item.time_left for item in found}
    made = Table(
        title=Text(f"{found[0].model}: score at equal measured time", style="bold"), title_justify="left",
        caption=Text("between the r that were run; empty: never that fast"), caption_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    made.add_column("reducer")
    for name, time_left in budgets.items():
        made.add_column(f"{100 * time_left:.0f} % of the time\n({name})", justify="right")
    for reducer in dict.fromkeys(item.reducer for item in found):
        scores = {item.budget: item.score for item in found if item.reducer == reducer}
        made.add_row(reducer, *(_percent(scores[name]) for name in budgets))
    return made


def _plain(entry: Entry) -> bool:
    """Whether a row varies nothing but the reducer and a constant r."""
    return ":" not in entry.cell.text and "," not in entry.cell.text and entry.cell.prop_attn is None


def _at(time_left: float, points: Sequence[tuple[float, float]]) -> float | None:
    """The score at a time, linear between points; None below the fastest."""
    xs, ys = np.array(sorted(points)).T
    if time_left < xs[0] - 1e-9:
        return None
    return float(np.interp(time_left, xs, ys))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
