"""Cards of baselines as people and machines read them."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tome_zoo.cards import BaselineCard
from tome_zoo.reports.cards import figure_row, figures_table


def baseline_overview(card: BaselineCard) -> dict[str, Any]:
    """What `list` shows of a baseline: the keys of `cards.overview`, of which those of merging are empty."""
    return {
        "name": card.name,
        "modality": card.modality,
        "dataset": card.dataset,
        "license": card.license,
        "parameters": card.parameters,
        "metric": "top1",
        "score_r0": card.score,
        "default_r": None,
        "score_default_r": None,
        "classifier": True,
        "merges": False,
    }


def baselines_table(cards: Iterable[BaselineCard]) -> Table:
    """A line for each baseline."""
    table = Table(
        title="baselines, which do not merge: for `tome-zoo bench`", title_justify="left", title_style="dim",
        box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for name in ("model", "built by", "modality", "data set", "input"):
        table.add_column(name, overflow="fold")
    for name in ("params", "reported top-1"):
        table.add_column(name, justify="right", no_wrap=True)
    for card in cards:
        size = " x ".join(map(str, card.input[1:]))
        score = "-" if card.score is None else f"{card.score:.2f}"
        parameters = f"{card.parameters / 1e6:,.1f} M"
        table.add_row(Text(card.name), card.library, card.modality, card.dataset, size, parameters, score)
    return table


def baseline_view(card: BaselineCard) -> list[Table | Text]:
    """All of a card, for a terminal."""
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    rows = {
        "merging": "none: a baseline, timed by `tome-zoo bench`",
        "modality": card.modality,
        "built by": f"{card.library}: {card.builder}",
        "input": " x ".join(map(str, card.input)),
        "parameters": f"{card.parameters / 1e6:,.2f} M",
        "data set": card.dataset,
        "weights": f"not of this package; {card.license}",
    }
    for key, value in rows.items():
        facts.add_row(key, Text(value))
    pieces: list[Table | Text] = [Text(card.name, style="bold"), facts]
    if card.reported:
        pieces.append(figures_table("reported", [figure_row(figure) for figure in card.reported]))
    return pieces
