"""`train`: a model with merging in the loop, on data of one's own or those of the embedded models."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, fail, note, progress_bar, show, show_json
from tome_zoo.commands.options import (
    DataFormat,
    DatasetName,
    Device,
    Dtype,
    Ema,
    Name,
    Protocol,
    Reducer,
    Schedules,
    Settings,
    Weights,
    Workers,
    parse_schedules,
    read_one_setting,
)

if TYPE_CHECKING:
    from tome_zoo.training.trainer import TrainResult


class RMode(StrEnum):
    """How r goes in training."""

    constant = "constant"
    scheduled = "scheduled"
    random = "random"


def train(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT", help="Folder of the data set; an embedded model makes its own there, or in the run."
        ),
    ] = None,
    r: Schedules = None,
    r_mode: Annotated[
        RMode | None,
        typer.Option(help="The first r; each for a part of the run; one drawn a step  [default: random, if several]"),
    ] = None,
    reducer: Reducer = None,
    recipe: Annotated[str | None, typer.Option(help="Another recipe than the model's own.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Views a forward of each process.")] = None,
    accum: Annotated[int | None, typer.Option(min=1, help="Forwards a step  [default: to the recipe's batch]")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate at that batch.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Of the forward; weights stay float32.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the blocks.")] = False,
    checkpointing: Annotated[
        bool | None, typer.Option("--checkpointing", help="Compute activations again instead of keeping them.")
    ] = None,
    fsdp: Annotated[bool, typer.Option("--fsdp", help="Shard the model over the processes (FSDP2).")] = False,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder  [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")] = False,
    weights: Weights = None,
    ema: Ema = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    teacher: Annotated[str | None, typer.Option(help="A model whose outputs are learnt too, unmerged.")] = None,
    dataset: DatasetName = None,
    split: Annotated[str, typer.Option(help="What is trained on.")] = "train",
    data_format: DataFormat = None,
    protocol: Protocol = None,
    eval_r: Annotated[
        list[str] | None, typer.Option("--eval-r", metavar="R", help="Where it is evaluated; repeatable.")
    ] = None,
    eval_limit: Annotated[int | None, typer.Option(min=1, help="Samples of an evaluation, but the last.")] = None,
    evaluations: Annotated[int | None, typer.Option(min=1, help="How many a run.")] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(min=1, help="How often  [default: each epoch]")] = None,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay.")] = 2,
    model_name: Annotated[str | None, typer.Option("--name", help="Of the new model.")] = None,
    settings: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    workers: Workers = None,
    device: Device = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Train a model with merging in the loop; what comes out is a folder with weights, card and measured table."""
    from tome_zoo.cards import model_card

    model_card(name)
    schedules, tried = (parse_schedules(texts) if texts else None for texts in (r, eval_r))
    from tome_zoo.demo import MODELS, retrain
    from tome_zoo.system import distributed
    from tome_zoo.training import trainer

    output = Path("runs", name) if output is None else output
    options: dict[str, Any] = {
        "r": schedules, "r_mode": r_mode and r_mode.value, "reducer": reducer, "recipe": recipe, "epochs": epochs,
        "batch_size": batch_size, "accum": accum, "lr": lr, "dtype": dtype and dtype.value, "compile": compile,
        "checkpointing": checkpointing, "fsdp": fsdp, "resume": resume, "weights": weights,
        "use_ema": ema,
        "start": "scratch" if from_scratch else None, "teacher": teacher, "protocol": protocol, "eval_r": tried,
        "eval_limit": eval_limit, "evaluations": evaluations, "checkpoint_steps": checkpoint_steps, "keep": keep,
        "name": model_name, "architecture": read_one_setting(settings or []), "seed": seed, "workers": workers,
        "device": device,
    }  # fmt: skip
    first = distributed.current_rank().rank == 0
    with progress_bar(name, "steps", hidden=not first) as progress:
        if name in MODELS and dataset is None and split == "train" and weights is None:
            done = retrain.retrain(name, output, data=data, progress=progress, **options)
        elif data is None:
            fail(f"{name} is trained on data of your own: pass --data ROOT; without it train {' or '.join(MODELS)}")
        else:
            options |= {"dataset": dataset, "split": split, "data_format": data_format}
            done = trainer.train(name, data, output=output, progress=progress, **options)
    if first:
        _tell(done, as_json=as_json)


def _tell(done: "TrainResult", *, as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "model": done.name, "output": str(done.output), "cards": str(done.folder), "steps": done.steps,
                "failures": done.failures, "seconds": done.seconds,
                "results": [result.to_json() for result in done.results],
            }
        )  # fmt: skip
        return
    if done.failures:
        note(f"{done.failures} samples could not be read; -v names them")
    scores = ", ".join(f"{result.score:.2f} % at r = {result.r}" for result in done.results)
    show(f"{done.name}: {done.steps} steps in {done.seconds:.0f} s{': ' if scores else ''}{scores}")
    show(f"tome-zoo info {done.name} --cards {done.folder}")
