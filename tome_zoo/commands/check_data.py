"""`check-data`: whether a data set is whole and can be decoded."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, note, progress_bar, show, show_json
from tome_zoo.commands.options import DataFormat, Root, Split

SHOWN = 20  # faults


def check_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, or a model.", show_default=False)],
    data: Root,
    split: Split = None,
    data_format: DataFormat = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that decode, 0: this one; without it one a core."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="That many samples, spread evenly over the split.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all that was found as JSON.")] = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Decode every file of a data set, as an evaluation would, and name those that are missing, empty or damaged.

    Exits with 1 if there are any. Classes without samples, and files that no list names, are only counted.
    """
    import json

    from tome_zoo.data import check
    from tome_zoo.data.dataset import open_dataset
    from tome_zoo.errors import DataError
    from tome_zoo.system import devices

    card, model, protocol = check.resolve_cards(name)
    try:
        dataset = open_dataset(data, card, split, data_format)
    except DataError:
        note(f"{card.title}: {card.obtain.strip()}")
        raise
    if workers is None:
        workers = devices.cores()
    with progress_bar(f"checking {card.name}") as progress:
        found = check.check_data(dataset, model, protocol, workers=workers, limit=limit, progress=progress)
    report = found.to_json()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show_json(report) if as_json else _show(report)
    if found.faults:
        raise typer.Exit(1)


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    how = f"decoded as by {report['decoded_as']}, {report['protocol']}" if report["decoded_as"] else "read"
    show(f"{report['dataset']} {report['split']}: {report['format']}, {how}")
    table = Table()
    columns = ("listed", "checked", "found", "missing", "empty", "undecodable", "good")
    for column in columns:
        table.add_column(column, justify="right")
    table.add_row(*(str(report[column]) for column in columns))
    show(table)
    faults = report["faults"]
    for fault in faults[:SHOWN]:
        show(f"{fault['kind']}: {fault['reason']}")
    if len(faults) > SHOWN:
        show(f"and {len(faults) - SHOWN} more: --json or --output FILE names them all")
    if repaired := report["repaired"]:
        show(f"damaged in parts, which were left out or stood in for: {len(repaired)} ({_some(repaired)})")
    if empty := report["empty_classes"]:
        show(f"classes without samples: {len(empty)} of {report['classes']} ({_some(empty)})")
    if unlisted := report["unlisted"]:
        show(f"files there that no list names: {len(unlisted)} ({_some(unlisted)})")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
