"""`train`: a model from nothing, or from its weights."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, fail, progress_bar, show, show_json
from tome_zoo.commands.options import Device, Name, Schedules, parse_schedules


def train(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT",
            help="Folder of the data set; an embedded model makes its own there, or in a temporary folder.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights  [default: runs/NAME.safetensors]")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Card of what lies at ROOT, if not the model's own.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Go on from these instead of from nothing.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    r: Schedules = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order and augmentation.")] = None,
    device: Device = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Train a model; an embedded one from nothing, by its recipe, on data that it makes itself."""
    from tome_zoo.cards import dataset_card, model_card

    card = model_card(name)
    schedules = parse_schedules(r) if r else None
    from tome_zoo import registry
    from tome_zoo.data.dataset import open_dataset
    from tome_zoo.demo import RECIPES, retrain
    from tome_zoo.system.devices import choose_device
    from tome_zoo.training import trainer

    output = Path("runs", f"{name}.safetensors") if output is None else output
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "r": schedules, "seed": seed}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    options |= {"device": choose_device(device), "history": output.with_suffix(".jsonl")}
    with progress_bar(name, "") as progress:
        if name in RECIPES and weights is None and dataset is None:
            done = retrain.retrain(name, output, data=data, progress=progress, **options)
        elif data is None:
            fail(f"{name} is trained on data of your own: pass --data ROOT; without it train {' or '.join(RECIPES)}")
        else:
            kind = dataset_card(dataset or card.dataset)
            samples = open_dataset(data, kind, "train")
            fields: dict[str, Any] = {"num_classes": samples.num_classes}
            done = trainer.train(
                registry.create_model(name, weights=weights, **fields),
                samples,
                validation=open_dataset(data, kind, "val") if "val" in kind.splits else None,
                from_nothing=weights is None,
                output=output,
                progress=progress,
                **options,
            )
    if as_json:
        show_json(
            {"output": str(output), "seconds": done.seconds, "history": [asdict(epoch) for epoch in done.history]}
        )
        return
    last = done.history[-1]
    score = "" if last.score is None else f", score {last.score:.2f} %"
    show(f"{len(done.history)} epochs in {done.seconds:.0f} s, loss {last.loss:.3f}{score}: {output}")
