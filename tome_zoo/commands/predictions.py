"""`predictions`: what a model said of each sample of an evaluation, and how well it told each class."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Verbose, fail, note


def predictions(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file; without it csv on stdout."),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="A row a class instead: accuracy, or average precision, AUC and d'.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Only of that model.")] = None,
    r: Annotated[str | None, typer.Option("--r", help="Only at that r.")] = None,
    cards: Cards = None,
    verbose: Verbose = 0,
) -> None:
    """Write a table of every sample's target and prediction, or of every class, from the scores `eval` has stored."""
    from tome_zoo.evaluation import class_table, sample_table
    from tome_zoo.system.files import write_csv

    if output is not None and output.suffix not in (".csv", ".parquet"):
        fail(f"expected a file .csv or .parquet, got {output}")
    columns: tuple[str, ...]
    if per_class:
        columns, rows = class_table.COLUMNS, list(class_table.class_rows(folder, model=model, r=r))
    else:
        columns, rows = sample_table.COLUMNS, list(sample_table.sample_rows(folder, model=model, r=r))
    if output is None:
        write_csv(sys.stdout, columns, rows)
        return
    _write(output, columns, rows)
    note(f"written: {output} ({len(rows)} rows)")


def _write(output: Path, columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
    from tome_zoo.system.files import atomic_write, write_csv

    if output.suffix == ".csv":
        with atomic_write(output) as text:
            write_csv(text, columns, rows)
        return
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        fail("a .parquet file needs pyarrow: pip install pyarrow, or write a .csv file")
    with atomic_write(output, "wb") as file:
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
