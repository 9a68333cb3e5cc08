"""`embed`: features of files, and how well they tell classes apart."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, fail, note, progress_bar, show, show_json, sigterm_as_ctrl_c
from tome_zoo.commands.options import (
    BatchSize,
    DataFormat,
    DatasetName,
    Device,
    Dtype,
    Ema,
    Name,
    OneDtype,
    Protocol,
    Schedules,
    Settings,
    Split,
    Weights,
    Workers,
    parse_schedules,
    read_one_setting,
)

if TYPE_CHECKING:
    from tome_zoo.training.features import Features


class ProbeKind(StrEnum):
    """Which classifier is fitted on features."""

    linear = "linear"
    knn = "knn"


def embed(
    name: Name,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Any files of the model's modality.", show_default=False)
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="ROOT", help="Folder of a data set, instead.")] = None,
    r: Schedules = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="features.npz or features.parquet")
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="All tokens, unmerged, instead of one vector.")] = False,
    probe: Annotated[
        ProbeKind | None, typer.Option(help="Fit a classifier on the training split, score it at each r.")
    ] = None,
    dataset: DatasetName = None,
    split: Split = None,
    data_format: DataFormat = None,
    protocol: Protocol = None,
    batch_size: BatchSize = 32,
    dtype: OneDtype = Dtype.float32,
    workers: Workers = None,
    device: Device = None,
    weights: Weights = None,
    settings: Settings = None,
    ema: Ema = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Write one row of features a file; with --probe, print what a classifier on them scores at each r."""
    from tome_zoo.cards import dataset_card, model_card

    card = model_card(name)
    if (folder is None) == (data is None):
        fail("name a FOLDER of files, or --data ROOT of a data set")
    if probe is None and output is None:
        fail("name the file to write with -o, or ask for a score with --probe")
    if probe is not None and data is None:
        fail("--probe needs classes: name a data set with --data ROOT")
    schedules = parse_schedules(r, single=probe is None) if r else [0]
    from tome_zoo import registry
    from tome_zoo.data.dataset import open_dataset
    from tome_zoo.system import distributed
    from tome_zoo.system.devices import choose_device
    from tome_zoo.training import features
    from tome_zoo.training.probe import probe as fit

    shape = read_one_setting(settings or []) | ({} if ema is None else {"use_ema": ema})
    first = distributed.current_rank().rank == 0
    options: dict[str, Any] = {
        "protocol": protocol, "batch_size": batch_size, "dtype": dtype.value, "workers": workers,
        "device": choose_device(device),
    }  # fmt: skip
    with progress_bar(name, hidden=not first) as progress, sigterm_as_ctrl_c():
        model = registry.create_model(name, pretrained=True, weights=weights, **shape)
        kind = dataset_card(dataset or card.dataset)
        if probe is not None and data is not None:
            train, test = (open_dataset(data, kind, part, data_format) for part in ("train", split))
            found = fit(model, train, test, r=schedules, kind=probe.value, progress=progress, **options)
        else:
            source: Any = folder if data is None else open_dataset(data, kind, split, data_format)
            made = features.embed(
                model, source, r=schedules[0], output=output, tokens=tokens, progress=progress, **options
            )
    if first and probe is not None:
        _show_probe([asdict(result) for result in found], as_json)
    elif first:
        _show_features(made, output, as_json)


def _show_features(made: "Features", output: Path | None, as_json: bool) -> None:
    for failure in made.failed:
        note(f"{failure.id}: {failure.reason}")
    facts = {"output": str(output), "shape": list(made.features.shape), "failed": len(made.failed)}
    if as_json:
        show_json(facts)
    else:
        show(f"{output}: {len(made.ids)} rows of {' x '.join(map(str, made.features.shape[1:]))}")
    if made.failed:
        raise typer.Exit(1)


def _show_probe(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    from rich.table import Table

    table = Table("r", f"{rows[0]['kind']} probe, {rows[0]['metric']} %", "GMACs", "fitted on", "scored on")
    for row in rows:
        table.add_row(row["r"], f"{row['score']:.2f}", f"{row['gmacs']:.4g}", str(row["n_train"]), str(row["n_test"]))
    show(table)
