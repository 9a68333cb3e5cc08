"""`paper`: tables and sweeps of the paper, run again, measured beside printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tome_zoo.commands.console import (
    INTERRUPTED,
    USER_ERROR,
    Cards,
    Json,
    Verbose,
    fail,
    note,
    progress_bar,
    show,
    show_json,
    sigterm_as_ctrl_c,
)
from tome_zoo.commands.options import Device, Dtype

if TYPE_CHECKING:
    from tome_zoo.paper.produce import Produced


def paper(
    table: Annotated[str | None, typer.Argument(help="Name of a table; without it they are listed.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="Folder of the data set; with --demo of all three.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Run the table's grid on the embedded models.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run the grid on this model instead; repeatable.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Instead of a model's own; several of one model give a spread."),
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch weights that are not at hand.")] = False,
    bench: Annotated[bool, typer.Option("--bench", help="Also time every row and baseline, in turn.")] = False,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of --bench, for each model.")] = 30.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Views a forward.")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="That many samples, spread evenly over the split.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="Of weights and activations.")] = Dtype.float32,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode.")] = None,
    device: Device = None,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder  [default: runs/paper/TABLE]")] = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Run a table of the paper as far as data and weights allow: measured beside printed, CSV and picture.

    The same command goes on where it stopped, and under torchrun shares the work. Scores need --data or --demo; without
    either, --bench times the rows.
    """
    from tome_zoo.cards import table_card, table_cards
    from tome_zoo.paper import tables

    if table is None:
        if as_json:
            show_json([card.model_dump(mode="json", exclude_none=True) for card in table_cards().values()])
        else:
            show(tables.list_table(table_cards().values()))
        return
    card = table_card(table)
    if demo and model:
        fail("--demo is for the embedded models: leave out --model, or --demo")
    from tome_zoo.errors import LostRankError, TomeZooError
    from tome_zoo.paper.produce import produce
    from tome_zoo.system import distributed

    folder = Path("runs", "paper", table) if output is None else output
    options: dict[str, Any] = {
        "demo": demo, "models": model or (), "weights": weights or (), "fetch": fetch, "seconds": seconds,
        "bench": bench, "batch_size": batch_size, "limit": limit, "dtype": dtype.value, "workers": workers,
        "device": device,
    }  # fmt: skip
    first = distributed.current_rank().rank == 0
    try:
        with sigterm_as_ctrl_c(), progress_bar(table, "steps", hidden=not first) as progress:
            made = produce(card, data, folder, progress=progress, **options)
    except KeyboardInterrupt:
        if not first:  # of several processes one talks
            raise typer.Exit(INTERRUPTED) from None
        note(f"what was computed is kept in {folder}; the same command goes on from there")
        raise
    except (TomeZooError, OSError) as error:
        if first or isinstance(error, LostRankError):
            raise
        raise typer.Exit(USER_ERROR) from None
    if first:
        _tell(made, as_json=as_json)
    if not any(entry.score is not None or entry.samples_per_second is not None for entry in made.entries):
        if first:
            fail("no row could be run; the last column says why")
        raise typer.Exit(USER_ERROR)


def _tell(made: "Produced", *, as_json: bool) -> None:
    from tome_zoo.paper import tables

    if as_json:
        show_json([entry.to_json() for entry in made.entries])
    else:
        show(*(tables.measured_table(made.card, group) for group in made.groups))
        show(*map(tables.equal_time_table, made.equal_time_groups))
    note(f"written: {', '.join(map(str, made.files))}")
