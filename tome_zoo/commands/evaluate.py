"""`eval`: a model on a data set at several r."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from tome_zoo.commands.options import Device, Dtype, Name, Root, Schedules, Weights, parse_schedules

if TYPE_CHECKING:
    from tome_zoo.evaluation.results import Result


def eval_command(
    name: Name,
    data: Root,
    r: Schedules = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Views a forward.")] = 32,
    device: Device = None,
    dtype: Annotated[Dtype, typer.Option(help="Of weights and activations.")] = Dtype.float32,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode  [default: 0 on a CPU, else up to 8 a GPU]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="That many samples, spread evenly over the split.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the results  [default: runs/NAME]")] = None,
    split: Annotated[str | None, typer.Option(help="Another split than the validation split.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Card of what lies at ROOT, if not the model's own.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Another protocol than the model's own.")] = None,
    data_format: Annotated[str | None, typer.Option("--format", help="How ROOT is laid out, if not found out.")] = None,
    weights: Weights = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Score all anew instead of going on.")] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the figures into the model's card.")
    ] = False,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Exit with 0 though samples failed.")] = False,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Score a model on a data set at each r (without --r: those of its card); every sample is decoded once."""
    from tome_zoo.cards import model_card

    card = model_card(name)
    schedules = parse_schedules(r) if r else list(card.merging.r)
    if update_card and (weights or limit):
        fail("--update-card states the whole split and the card's own weights: leave out --weights and --limit")
    from tome_zoo.errors import TomeZooError
    from tome_zoo.evaluation import evaluator
    from tome_zoo.reports import tables
    from tome_zoo.system import distributed

    output = Path("runs", name) if output is None else output
    with sigterm_as_ctrl_c(), distributed.process_group() as rank:
        first = rank.rank == 0  # of several processes one talks
        try:
            with progress_bar(name, hidden=not first) as progress:
                results = evaluator.evaluate(
                    name, data, r=schedules, protocol=protocol, dataset=dataset, split=split, weights=weights,
                    batch_size=batch_size, device=device, dtype=dtype.value, workers=workers, limit=limit,
                    data_format=data_format, output=output, resume=not fresh, progress=progress,
                )  # fmt: skip
            failed = tables.failures(results)
            with distributed.raise_together():
                if first:
                    _tell(results, output, as_json=as_json, update_card=update_card)
        except KeyboardInterrupt:
            if not first:
                raise typer.Exit(INTERRUPTED) from None
            note(f"what was computed is kept in {output}; the same command goes on from there")
            raise
        except (TomeZooError, OSError):
            if first:
                raise
            raise typer.Exit(USER_ERROR) from None
    if failed and first:
        note(f"samples that could not be scored: {max(result.n_failed for result in results)}", *failed)
    if failed and not allow_missing:
        raise typer.Exit(1)


def _tell(results: "list[Result]", output: Path, *, as_json: bool, update_card: bool) -> None:
    from tome_zoo.reports import tables

    if update_card:
        from tome_zoo.reports.update_card import update_card as write_measured

        note(f"measured figures written to {write_measured(results)}")
    if as_json:
        show_json([result.to_json() for result in results])
        return
    show(*map(tables.results_table, tables.group_results(results)))
    note(f"results: {output}")
    seconds = results[0].seconds
    if total := sum(seconds.values()):
        shares = {"data": "waiting for data", "model": "model", "rest": "bookkeeping"}
        note(", ".join(f"{100 * seconds[key] / total:.0f} % {words}" for key, words in shares.items()))
