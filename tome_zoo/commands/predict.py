"""`predict`: the most probable classes of one's own files."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, fail, progress_bar, show_json
from tome_zoo.commands.options import Device, Name, Weights, parse_schedules


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
    (schedule,) = parse_schedules([r], single=True)
    from tome_zoo import registry
    from tome_zoo.errors import MediaError
    from tome_zoo.evaluation.prediction import predict as predict_file
    from tome_zoo.system.devices import choose_device

    if weights is None:
        registry.require_classifier(card)
    with progress_bar("fetching weights", "bytes") as progress:
        model = registry.create_model(name, pretrained=True, weights=weights, r=schedule, progress=progress)
    registry.require_classifier(model)
    model.to(choose_device(device))
    found: list[dict[str, Any]] = []
    with progress_bar("predicting", "files") as progress:
        for number, file in enumerate(files):
            progress(number, len(files))
            try:
                best = predict_file(model, file, top_k)
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


def _show_prediction(entry: dict[str, Any]) -> None:
    if "error" not in entry:
        typer.echo(entry["file"])
        for item in entry["predictions"]:
            typer.echo(f"  {100 * item['probability']:6.2f} %  {item['label']}")
