"""`eval`: models on a data set at several r."""

from dataclasses import dataclass
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
    BatchSize,
    DataFormat,
    DatasetName,
    Device,
    Dtype,
    Ema,
    Names,
    OneDtype,
    PropAttn,
    Protocol,
    Reducer,
    Root,
    Schedules,
    Settings,
    Split,
    Weights,
    Workers,
    expand_names,
    parse_schedules,
    read_one_setting,
)

if TYPE_CHECKING:
    from tome_zoo.cards import ModelCard
    from tome_zoo.evaluation.results import Result


def eval_command(
    names: Names,
    data: Root,
    r: Schedules = None,
    reducer: Reducer = None,
    prop_attn: PropAttn = None,
    batch_size: BatchSize = 32,
    device: Device = None,
    dtype: OneDtype = Dtype.float32,
    workers: Workers = None,
    limit: Annotated[int | None, typer.Option(min=1, help="That many samples, spread evenly over the split.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the results  [default: runs/NAME]")] = None,
    split: Split = None,
    dataset: DatasetName = None,
    protocol: Protocol = None,
    data_format: DataFormat = None,
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
    if weights and len(chosen) > 1:
        fail(f"--weights is a file of one model, got {len(chosen)}: evaluate them one by one")
    if update_card and (reducer or prop_attn is not None):
        fail("--update-card states the model as its card has it: leave out --reducer and --prop-attn")
    if update_card and (weights or limit or settings):
        fail("--update-card states the whole split and the card's own weights: leave out --weights, --set and --limit")
    options: dict[str, Any] = {
        "protocol": protocol, "dataset": dataset, "split": split, "weights": weights, "batch_size": batch_size,
        "device": device, "dtype": dtype.value, "workers": workers, "limit": limit, "data_format": data_format,
        "overrides": read_one_setting(settings or []), "resume": not fresh, "use_ema": ema, "reducer": reducer,
        "prop_attn": prop_attn,
    }  # fmt: skip
    told = Telling(as_json=as_json, update_card=update_card, allow_missing=allow_missing)
    _evaluate(chosen, data, given, output, options, told)


@dataclass(frozen=True)
class Telling:
    """What is said of the results, and when they count as a success."""

    as_json: bool
    update_card: bool
    allow_missing: bool


def _evaluate(
    chosen: "list[ModelCard]",
    data: Path,
    given: list[Any] | None,
    output: Path | None,
    options: dict[str, Any],
    told: Telling,
) -> None:
    """One model after the other; what one of several cannot do costs the others nothing."""
    from tome_zoo.errors import LostRankError, TomeZooError
    from tome_zoo.evaluation import evaluator
    from tome_zoo.system import distributed

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
                        _tell(found, folder, told)
                results += found
            except KeyboardInterrupt:
                if not first:
                    raise typer.Exit(INTERRUPTED) from None
                note(f"what was computed is kept in {folder}; the same command goes on from there")
                raise
            except (TomeZooError, OSError) as error:
                if first and isinstance(error, OSError):
                    note(f"what was computed before is kept in {folder}; the same command goes on from there")
                if len(chosen) > 1:
                    refused[card.name] = str(error)
                elif first or isinstance(error, LostRankError):
                    raise
                else:
                    raise typer.Exit(USER_ERROR) from None
    _end(results, refused, told, first=first)


def _end(results: "list[Result]", refused: dict[str, str], told: Telling, *, first: bool) -> None:
    """Say what could not be scored, and exit accordingly."""
    from tome_zoo.reports import tables

    failed = tables.failures(results)
    if first and told.as_json:
        show_json([result.to_json() for result in results])
    if failed and first:
        note(f"samples that could not be scored: {max(result.n_failed for result in results)}", *failed)
    if first:
        note(*(f"{name}: {reason}" for name, reason in refused.items()))
    if refused:
        if first:
            fail(f"{len(refused)} of {len(refused) + len({result.model for result in results})} models not evaluated")
        raise typer.Exit(USER_ERROR)
    if failed and not told.allow_missing:
        raise typer.Exit(1)


def _tell(results: "list[Result]", output: Path, told: Telling) -> None:
    from tome_zoo.reports import tables

    if told.update_card:
        from tome_zoo.reports.update_card import update_card as write_measured

        note(f"measured figures written to {write_measured(results)}")
    if told.as_json:
        return
    show(*map(tables.results_table, tables.group_results(results)))
    note(f"results: {output}")
    seconds = results[0].seconds
    if total := sum(seconds.values()):
        shares = {"data": "waiting for data", "model": "model", "rest": "bookkeeping"}
        note(", ".join(f"{100 * seconds[key] / total:.0f} % {words}" for key, words in shares.items()))
