"""`predictions`: what a model said of each sample of an evaluation."""

from pathlib import Path
from typing import Annotated

import typer

from tome_zoo.commands.console import Cards, Verbose, fail, note


def predictions(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file; without it csv on stdout."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only of that model.")] = None,
    r: Annotated[str | None, typer.Option("--r", help="Only at that r.")] = None,
    cards: Cards = None,
    verbose: Verbose = 0,
) -> None:
    """Write a table of every sample's target and prediction from the scores that `eval` has stored."""
    import csv
    import sys

    from tome_zoo.evaluation.sample_table import COLUMNS, sample_rows
    from tome_zoo.system.files import atomic_write

    if output is not None and output.suffix not in (".csv", ".parquet"):
        fail(f"expected a file .csv or .parquet, got {output}")
    rows = list(sample_rows(folder, model=model, r=r))
    if output is None or output.suffix == ".csv":
        if output is None:
            writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            return
        with atomic_write(output) as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    else:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            fail("a .parquet file needs pyarrow: pip install pyarrow, or write a .csv file")
        with atomic_write(output, "wb") as file:
            parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    note(f"written: {output} ({len(rows)} rows)")
