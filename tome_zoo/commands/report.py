"""`report`: what was measured beside what others have reported."""

from pathlib import Path
from typing import Annotated

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, note, show, show_json


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results, or several of them below it.")],
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a table with speed-ups.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also plot the trade-offs (PNG, SVG, PDF).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write a page of HTML to explore.")
    ] = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Print measured figures beside the reported ones, with the difference."""
    from tome_zoo.reports import comparison

    compared = comparison.compare(comparison.find_results(folder))
    results = [item.result for item in compared]
    if csv is not None:
        from tome_zoo.reports import tables

        note(f"table: {tables.write_csv(results, csv)}")
    if plot is not None:
        from tome_zoo.reports.plot import plot_tradeoff

        note(f"plot: {plot_tradeoff(results, plot)}")
    if output is not None:
        from tome_zoo.reports.page.write import write_results_page

        note(f"page: {write_results_page(results, folder, output)}")
    if as_json:
        show_json([item.to_json() for item in compared])
        return
    from tome_zoo.cards import baseline_cards
    from tome_zoo.reports.baselines import baselines_table

    show(comparison.comparison_table(compared))
    measured_on = {result.dataset for result in results}
    if beside := [card for card in baseline_cards().values() if card.dataset in measured_on]:
        show(baselines_table(beside))
