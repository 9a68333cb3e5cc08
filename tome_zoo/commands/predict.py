"""`predict`: the most probable classes of one's own files."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, fail, note, progress_bar, show_json
from tome_zoo.commands.options import Device, Ema, Name, Settings, Weights, parse_schedules, read_one_setting


def predict(
    name: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images, videos or sounds.")],
    r: Annotated[str, typer.Option("--r", metavar="R", help="How much to merge: 8 | 8:-1 | 9,0,4.")] = "0",
    top_k: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    windows: Annotated[
        bool, typer.Option("--windows", help="Go over all of a sound or video, window by window, with times.")
    ] = False,
    protocol: Annotated[str | None, typer.Option(help="Whose views are taken, if not the model's own.")] = None,
    weights: Weights = None,
    settings: Settings = None,
    ema: Ema = None,
    device: Device = None,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of your own images, videos or sounds.

    Photographs are turned upright as the camera noted (EXIF), which `eval` does not do.
    """
    from tome_zoo.cards import model_card, protocol_card

    card = model_card(name)  # an unknown name is told before anything is fetched
    (schedule,) = parse_schedules([r], single=True)
    if windows and (protocol or card.modality == "image"):
        fail("--windows is for sounds and videos, and takes one view a window: leave out --protocol")
    if protocol is not None:
        protocol_card(protocol)
    from tome_zoo import registry
    from tome_zoo.errors import CardError, TomeZooError, printable
    from tome_zoo.system.devices import choose_device

    if weights is None:
        registry.require_classifier(card)
    options = read_one_setting(settings or []) | ({} if ema is None else {"use_ema": ema})
    with progress_bar("fetching weights", "bytes") as progress:
        model = registry.create_model(
            card.name, pretrained=True, weights=weights, r=schedule, progress=progress, **options
        )
    registry.require_classifier(model)
    model.to(choose_device(device))
    found: list[dict[str, Any]] = []
    for file in files:
        try:
            entry = _classify(model, file, top_k, protocol, windows=windows)
        except CardError:  # which no other file would mend
            raise
        except (TomeZooError, OSError) as error:
            entry = {"file": printable(str(file)), "error": printable(str(error))}
            note(str(error))
        found.append(entry)
        if not as_json:
            _show(entry)
    if as_json:
        show_json(found)
    unreadable = [entry["file"] for entry in found if "error" in entry]
    if unreadable:
        fail(f"{len(unreadable)} of {len(found)} files could not be read: {', '.join(unreadable)}")


def _classify(model: Any, file: Path, top_k: int, protocol: str | None, *, windows: bool) -> dict[str, Any]:
    """What a model says of a file, as --json prints it."""
    from tome_zoo.errors import printable
    from tome_zoo.evaluation.prediction import classify, classify_windows

    if windows:
        found = list(classify_windows(model, file, top_k))
        stretches = [
            {**item.spans[0]._asdict(), "predictions": [asdict(best) for best in item.predictions]} for item in found
        ]
        return {"file": printable(str(file)), "seconds": found[0].duration, "windows": stretches}
    whole = classify(model, file, top_k, protocol=protocol)
    entry: dict[str, Any] = {"file": printable(str(file)), "predictions": [asdict(best) for best in whole.predictions]}
    if whole.duration is not None:
        entry |= {"seconds": whole.duration, "spans": [span._asdict() for span in whole.spans]}
        entry["coverage"] = whole.coverage
    return entry


def _show(entry: dict[str, Any]) -> None:
    if "error" in entry:
        return
    typer.echo(entry["file"])
    for window in entry.get("windows", ()):
        best = ", ".join(f"{item['label']} {100 * item['probability']:.1f} %" for item in window["predictions"])
        typer.echo(f"  {window['start']:8.1f} to {window['end']:8.1f} s  {best}")
    for item in entry.get("predictions", ()):
        typer.echo(f"  {100 * item['probability']:6.2f} %  {item['label']}")
    if "coverage" in entry:
        more = "" if _covers(entry) else "; --windows goes over all of it"
        typer.echo(f"  of {entry['coverage']}{more}")


def _covers(entry: dict[str, Any]) -> bool:
    """Whether the views leave no second of a recording out, but for the rest of a frame."""
    end = 0.0
    for span in sorted(entry["spans"], key=lambda item: item["start"]):
        if span["start"] > end + 0.1:
            return False
        end = max(end, span["end"])
    return bool(end >= entry["seconds"] - 0.1)
