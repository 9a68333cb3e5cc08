"""The commands. Whatever is heavy is imported inside them, so that `tome-zoo --help` answers at once."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo import __version__
from tome_zoo.console import Cards, Group, Json, Verbose, card_folders, fail, note, progress_bar, show, show_json

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Vision transformers for images, video and audio whose tokens merge as they run (Token Merging).",
)


class Modality(StrEnum):
    """What a model reads."""

    image = "image"
    video = "video"
    audio = "audio"


class Dtype(StrEnum):
    """What a model computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Name = Annotated[str, typer.Argument(metavar="NAME", help="A model; `tome-zoo list` names them.", show_default=False)]
Weights = Annotated[str | None, typer.Option(metavar="FILE", help="A file or URL instead of the card's weights.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; without it CUDA where there is a device.")]
Root = Annotated[Path, typer.Option("--data", metavar="ROOT", help="Folder of the data set.", show_default=False)]
Schedules = Annotated[
    list[str] | None,
    typer.Option("--r", metavar="R", help="8 | 8:-1 (linear) | 9,0,4 (block by block) | 0:65:5 (a range); repeatable."),
]


def main() -> None:
    """Entry point of `tome-zoo`."""
    app(prog_name="tome-zoo")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tome-zoo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    cards: Cards = None,
    verbose: Verbose = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_command(
    pattern: Annotated[str, typer.Argument(help="Wildcards as in file names, e.g. 'video_*'.")] = "*",
    modality: Annotated[Modality | None, typer.Option(help="Only models of this kind.")] = None,
    cards: Cards = None,
    as_json: Json = False,
) -> None:
    """List the models with data set, licence, parameters, and score unmerged and merged."""
    from fnmatch import fnmatchcase

    from tome_zoo import listing
    from tome_zoo.cards import model_cards

    found = [card for name, card in sorted(model_cards().items()) if fnmatchcase(name, pattern)]
    found = [card for card in found if modality in (None, card.modality)]
    if as_json:
        show_json([listing.overview(card) for card in found])
    elif found:
        show(listing.overview_table(found))
    if not found:
        note(f"no model matches {pattern!r}; wildcards are * and ?, as in '*mae*'")


@app.command()
def info(name: Name, r: Schedules = None, cards: Cards = None, as_json: Json = False) -> None:
    """Show all that is known of a model, with tokens and GMACs at each r."""
    from tome_zoo import listing
    from tome_zoo.cards import model_card

    data = listing.details(model_card(name), _parse(r) if r else None)
    show_json(data) if as_json else show(*listing.details_view(data))


@app.command()
def predict(
    name: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images, videos or sounds.")],
    r: Annotated[str, typer.Option("--r", metavar="R", help="How much to merge: 8 | 8:-1 | 9,0,4.")] = "0",
    top_k: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    weights: Weights = None,
    device: Device = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of your own images, videos or sounds."""
    from tome_zoo.cards import model_card

    card = model_card(name)  # an unknown name needs no torch to be told
    (schedule,) = _parse([r], single=True)
    from tome_zoo import evaluation, registry
    from tome_zoo.errors import MediaError

    if weights is None:
        registry.require_classifier(card)
    with progress_bar("fetching weights", "bytes") as progress:
        model = registry.create_model(name, pretrained=True, weights=weights, r=schedule, progress=progress)
    registry.require_classifier(model)
    model.to(evaluation.choose_device(device))
    found: list[dict[str, Any]] = []
    with progress_bar("predicting", "files") as progress:
        for number, file in enumerate(files):
            progress(number, len(files))
            try:
                best = evaluation.predict(model, file, top_k)
            except MediaError as error:
                found.append({"file": str(file), "error": str(error)})
            else:
                found.append({"file": str(file), "predictions": [asdict(item) for item in best]})
    if as_json:
        show_json(found)
    else:
        for entry in found:
            _show_prediction(entry)
    unreadable = [entry for entry in found if "error" in entry]
    if unreadable:
        more = f" (and {len(unreadable) - 1} more unreadable)" if len(unreadable) > 1 else ""
        fail(unreadable[0]["error"] + more)


@app.command("eval")
def eval_command(
    name: Name,
    data: Root,
    r: Schedules = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Views a forward.")] = 32,
    device: Device = None,
    dtype: Annotated[Dtype, typer.Option(help="Of weights and activations.")] = Dtype.float32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0 decodes in this one.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="That many samples, spread evenly over the split.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the results  [default: runs/NAME]")] = None,
    split: Annotated[str | None, typer.Option(help="Another split than the validation split.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Card of what lies at ROOT, if not the model's own.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Another protocol than the model's own.")] = None,
    weights: Weights = None,
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
    schedules = _parse(r) if r else list(card.merging.r)
    if update_card and (weights or limit):
        fail("--update-card states the whole split and the card's own weights: leave out --weights and --limit")
    from tome_zoo import evaluation, report

    output = Path("runs", name) if output is None else output
    with progress_bar(name) as progress:
        try:
            results = evaluation.evaluate(
                name, data, r=schedules, protocol=protocol, dataset=dataset, split=split, weights=weights,
                batch_size=batch_size, device=device, dtype=dtype.value, workers=workers, limit=limit, output=output,
                progress=progress,
            )  # fmt: skip
        except KeyboardInterrupt:
            note(f"what was computed is kept in {output}")
            raise
    if update_card:
        from tome_zoo import card_update

        note(f"measured figures written to {card_update.update_card(results, card_folders())}")
    if as_json:
        show_json([result.to_json() for result in results])
    else:
        show(*map(report.table, report.group(results)))
        note(f"results: {output}")
    if failed := report.failures(results):
        note(f"samples that could not be scored: {max(result.n_failed for result in results)}", *failed)
        if not allow_missing:
            raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder of data, results and picture.")] = Path("tome-zoo-demo"),
    device: Device = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Make three small data sets, evaluate the three embedded models at several r, and draw the trade-off."""
    from tome_zoo import report
    from tome_zoo.demo.run import run_demo

    with progress_bar("demo") as progress:
        done = run_demo(output, device=device, progress=progress)
    if as_json:
        show_json([result.to_json() for result in done.results])
        return
    show(*map(report.table, report.group(done.results)))
    show(f"written: {done.results_file}, {done.csv_file}, {done.plot_file}  ({done.seconds:.0f} s)")


@app.command()
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
    schedules = _parse(r) if r else None
    from tome_zoo import evaluation, registry
    from tome_zoo import train as training
    from tome_zoo.data import open_dataset
    from tome_zoo.demo import RECIPES, retrain

    output = Path("runs", f"{name}.safetensors") if output is None else output
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "r": schedules, "seed": seed}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    options |= {"device": evaluation.choose_device(device), "history": output.with_suffix(".jsonl")}
    with progress_bar(name, "") as progress:
        if name in RECIPES and weights is None and dataset is None:
            done = retrain.retrain(name, output, data=data, progress=progress, **options)
        elif data is None:
            fail(f"{name} is trained on data of your own: pass --data ROOT; without it train {' or '.join(RECIPES)}")
        else:
            kind = dataset_card(dataset or card.dataset)
            fields: dict[str, Any] = {"num_classes": kind.num_classes}
            done = training.train(
                registry.create_model(name, weights=weights, **fields),
                open_dataset(data, kind, "train"),
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


@app.command()
def fetch(name: Name, cards: Cards = None, verbose: Verbose = 0, as_json: Json = False) -> None:
    """Download the weights of a model into the cache, check them, and print where they are."""
    from tome_zoo.cards import model_card
    from tome_zoo.fetch import fetch as get

    card = model_card(name)
    if card.weights is None:
        fail(f"the card of {name} names no weights: bring a file with --weights")
    with progress_bar(name, "bytes") as progress:
        path = get(card.weights, progress=progress)
    show_json({"name": name, "path": str(path)}) if as_json else typer.echo(path)


def _parse(texts: list[str], single: bool = False) -> list[Any]:
    """The schedules that --r means; every form of it may stand several times."""
    from tome_zoo import schedule
    from tome_zoo.errors import ScheduleError

    found = [item for text in texts for item in schedule.parse(text)]
    if single and len(found) != 1:
        raise ScheduleError(f"expected one r, got {len(found)} from {texts[0]!r}: write 8, 8:-1 or 9,0,4")
    return found


def _show_prediction(entry: dict[str, Any]) -> None:
    if "error" not in entry:
        typer.echo(entry["file"])
        for item in entry["predictions"]:
            typer.echo(f"  {100 * item['probability']:6.2f} %  {item['label']}")


if __name__ == "__main__":
    main()
