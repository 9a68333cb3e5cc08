"""Measured figures beside those that others have reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from tome_zoo import cards, schedule
from tome_zoo.cards import Reported
from tome_zoo.errors import DataError
from tome_zoo.evaluation.results import RESULTS, Result, read_results
from tome_zoo.reports.folding_table import FoldingTable
from tome_zoo.reports.tables import conditions


@dataclass(frozen=True)
class Comparison:
    """A result, and the figure that its card reports for the same r and metric.

    Attributes:
        reported: None where nobody has reported one.
    """

    result: Result
    reported: Reported | None

    @property
    def difference(self) -> float | None:
        """Measured less reported score, in points of per cent."""
        return None if self.reported is None else self.result.score - getattr(self.reported, self.result.metric)

    @property
    def other_protocol(self) -> str:
        """The protocol of the card, by which its figures are reported, where the result has another; else nothing."""
        protocol = cards.protocol_card(cards.model_card(self.result.model).protocol).id if self.reported else ""
        return "" if protocol == self.result.protocol else protocol

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        found = self.result.to_json()
        if self.reported is not None:
            found["reported"] = self.reported.model_dump(exclude_none=True)
            found["difference"] = self.difference
            if self.other_protocol:
                found["reported_protocol"] = self.other_protocol
        return found


def find_results(path: str | Path) -> list[Result]:
    """The results of a file, or of all `results.jsonl` in a folder and below; a later one replaces an earlier one.

    Results of another device, dtype or batch size stand beside each other.

    Raises:
        DataError: If there are none, or a line is damaged.
    """
    path = Path(path)
    files = sorted(path.rglob(RESULTS)) if path.is_dir() else [path]
    latest: dict[tuple[Any, ...], Result] = {}
    for result in sorted((result for file in files for result in read_results(file)), key=lambda result: result.date):
        latest[(result.r, result.key, *conditions(result))] = result
    if not latest:
        raise DataError(f"expected results in {path}, found no {RESULTS}: `tome-zoo eval --output DIR` writes one")
    return sorted(latest.values(), key=lambda result: result.model)


def compare(results: Iterable[Result]) -> list[Comparison]:
    """Each result beside the first figure that its card reports for this r and metric."""
    return [Comparison(result, _find_reported(result)) for result in results]


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """A row a result: measured with its interval, reported, difference, counts, and the source of what was reported."""
    table = FoldingTable(keys=2, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "r"):
        table.add_column(name, overflow="fold")
    for name in ("GMACs", "measured %\n95 % interval", "reported\n%", "differ-\nence", "scored", "samples\n/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("protocol, dtype, device; source of the reported figure", overflow="fold")
    for item in comparisons:
        result, reported = item.result, item.reported
        scored = f"{result.n_scored:,}" + ("" if result.n_scored == result.n_expected else f" of {result.n_expected:,}")
        if result.classes_scored is not None:
            scored += f", {result.classes_scored} classes"
        where = f"{result.protocol}, {result.dtype}, {result.device}; "
        where += "none reported" if reported is None else reported.source + (reported.note and f" ({reported.note})")
        if reported is not None and item.other_protocol:
            where += f"; the card's protocol is {item.other_protocol}"
        table.add_row(
            Text(result.model),
            result.r,
            f"{result.gmacs:.3g}",
            f"{result.score:.2f} {'mAP' if result.metric == 'map' else 'top-1'}"
            + ("" if result.interval is None else "\n{:.1f} to {:.1f}".format(*result.interval)),
            "-" if reported is None else f"{getattr(reported, result.metric):.2f}",
            "-" if item.difference is None else f"{item.difference:+.2f}",
            scored + (" (limited)" if result.limit is not None else ""),
            f"{result.samples_per_second:.3g}",
            Text(where),
        )
    return table


def _find_reported(result: Result) -> Reported | None:
    card = cards.model_cards().get(result.model)
    if card is None:  # of a card that is not at hand, or of one of timm's models
        return None
    for figure in card.reported:
        if schedule.format(figure.r) == result.r and getattr(figure, result.metric) is not None:
            return figure
    return None
