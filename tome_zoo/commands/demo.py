"""`demo`: the embedded models on the data that they were made for."""

from pathlib import Path
from typing import Annotated

import typer

from tome_zoo.commands.console import Json, Verbose, progress_bar, show, show_json
from tome_zoo.commands.options import Device


def demo(
    output: Annotated[Path, typer.Option(help="Folder of data, results, plot and page.")] = Path("tome-zoo-demo"),
    device: Device = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Make three small data sets, evaluate the embedded models at several r, and write tables, a plot and a page."""
    from tome_zoo.demo.run import run_demo
    from tome_zoo.reports import tables

    with progress_bar("demo") as progress:
        done = run_demo(output, device=device, progress=progress)
    if as_json:
        show_json([result.to_json() for result in done.results])
        return
    show(*map(tables.results_table, tables.group_results(done.results)))
    show(f"written: {done.results_file}, {done.csv_file}, {done.plot_file}  ({done.seconds:.0f} s)")
    show(f"to explore, open {done.page_file.resolve()}")
