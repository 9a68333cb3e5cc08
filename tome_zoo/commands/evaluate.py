"""`eval`: models on a data set at several r."""

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
from tome_zoo.commands.options import (
    Device,
    Dtype,
    Ema,
    Names,
    PropAttn,
    Reducer,
    Root,
    Schedules,
    Settings,
    Weights,
    expand_names,
    parse_schedules,
    read_one_setting,
)

if TYPE_CHECKING:
    from tome_zoo.evaluation.results import Result


def eval_command(
    names: Names,
    data: Root,
    r: Schedules = None,
    reducer: Reducer = None,
    prop_attn: PropAttn = None,
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
    settings: Settings = None,
    ema: Ema = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Score all anew instead of going on.")] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the figures into the model's card.")
    ] = False,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Exit with 0 though samples failed.")] = False,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Score models on a data set at each r (without --r: those of their cards); every sample is decoded once.

    Images are taken as they are stored: the orientation that a camera notes is not applied (`predict` applies it).
    """
    from tome_zoo.cards import model_card

    chosen = [model_card(name) for name in expand_names(names)]
    given = parse_schedules(r) if r else None
    if update_card and (reducer or prop_attn is not None):
        fail("--update-card states the model as its card has it: leave out --reducer and --prop-attn")
    if update_card and (weights or limit or settings):
        fail("--update-card states the whole split and the card's own weights: leave out --weights, --set and --limit")
    if weights and len(chosen) > 1:
        fail(f"--weights is a file of one model, got {len(chosen)}: evaluate them one by one")
    from tome_zoo.errors import TomeZooError
    from tome_zoo.evaluation import evaluator
    from tome_zoo.system import distributed

    options: dict[str, Any] = {
        "protocol": protocol, "dataset": dataset, "split": split, "weights": weights, "batch_size": batch_size,
        "device": device, "dtype": dtype.value, "workers": workers, "limit": limit, "data_format": data_format,
        "overrides": read_one_setting(settings or []), "resume": not fresh, "use_ema": ema, "reducer": reducer,
        "prop_attn": prop_attn,
    }  # fmt: skip
    results: list[Result] = []
    refused: dict[str, str] = {}
    with sigterm_as_ctrl_c(), distributed.process_group() as rank:
        first = rank.rank == 0  # of several processes one talks
        for card in chosen:
            schedules = list(card.merging.r) if given is None else given
            folder = Path("runs", card.name) if output is None else output
            try:
                with progress_bar(card.name, hidden=not first) as progress:
                    found = evaluator.evaluate(
                        card.name, data, r=schedules, output=folder, progress=progress, **options
                    )
                with distributed.raise_together():
                    if first:
                        _tell(found, folder, as_json=as_json, update_card=update_card)
                results += found
            except KeyboardInterrupt:
                if not first:
                    raise typer.Exit(INTERRUPTED) from None
                note(f"what was computed is kept in {folder}; the same command goes on from there")
                raise
            except (TomeZooError, OSError) as error:
                if len(chosen) > 1:  # one of several models costs the others nothing
                    refused[card.name] = str(error)
                elif first:
                    raise
                else:
                    raise typer.Exit(USER_ERROR) from None
    _end(results, refused, first=first, as_json=as_json, allow_missing=allow_missing)


def _end(results: "list[Result]", refused: dict[str, str], *, first: bool, as_json: bool, allow_missing: bool) -> None:
    """Say what could not be scored, and exit accordingly."""
    from tome_zoo.reports import tables

    failed = tables.failures(results)
    if first and as_json:
        show_json([result.to_json() for result in results])
    if failed and first:
        note(f"samples that could not be scored: {max(result.n_failed for result in results)}", *failed)
    if first:
        note(*(f"{name}: {reason}" for name, reason in refused.items()))
    if refused:
        if first:
            fail(f"{len(refused)} of {len(refused) + len({result.model for result in results})} models not evaluated")
        raise typer.Exit(USER_ERROR)
    if failed and not allow_missing:
        raise typer.Exit(1)


def _tell(results: "list[Result]", output: Path, *, as_json: bool, update_card: bool) -> None:
    from tome_zoo.reports import tables

    if update_card:
        from tome_zoo.reports.update_card import update_card as write_measured

        note(f"measured figures written to {write_measured(results)}")
    if as_json:
        return
    show(*map(tables.results_table, tables.group_results(results)))
    note(f"results: {output}")
    seconds = results[0].seconds
    if total := sum(seconds.values()):
        shares = {"data": "waiting for data", "model": "model", "rest": "bookkeeping"}
        note(", ".join(f"{100 * seconds[key] / total:.0f} % {words}" for key, words in shares.items()))
