"""`show`: which tokens of one's own files merge with which, as a picture, a clip that plays, a page or a sound."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tome_zoo.commands.console import Cards, Verbose, fail, progress_bar
from tome_zoo.commands.options import (
    Device,
    Ema,
    Name,
    Reducer,
    Schedules,
    Settings,
    Weights,
    parse_schedules,
    read_one_setting,
)


def show(
    name: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Images, videos or sounds.")],
    r: Schedules = None,
    reducer: Reducer = None,
    block: Annotated[
        str | None, typer.Option(metavar="K|all", help="Behind which block, from 1; without it the last.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG, SVG or HTML, and MP4 or GIF of videos; without it FILE-groups.png here.",
        ),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Fill groups by how much they weigh in attention (their size).")
    ] = False,
    listen: Annotated[
        Path | None,
        typer.Option(metavar="WAV", help="Write the sound that is left, too, and the original beside it."),
    ] = None,
    weights: Weights = None,
    settings: Settings = None,
    ema: Ema = None,
    device: Device = None,
    cards: Cards = None,
    verbose: Verbose = 0,
) -> None:
    """Draw which tokens of your own images, videos or sounds merge with which."""
    from tome_zoo.cards import model_card

    card = model_card(name)
    schedules = parse_schedules(r) if r else _usual(card)
    behind = _block(block)
    from tome_zoo import registry
    from tome_zoo.errors import MediaError
    from tome_zoo.system.devices import choose_device
    from tome_zoo.visualize import drawing
    from tome_zoo.visualize import files as saving

    target = output or Path(f"{files[0].stem}-groups.png")
    saving.check_path(target, card.modality)
    _refuse_overwriting(files, target, listen)
    if listen is not None:
        saving.check_listen(listen, card.modality, len(files))
    options = read_one_setting(settings or []) | ({} if ema is None else {"use_ema": ema})
    with progress_bar("fetching weights", "bytes") as progress:
        model = registry.create_model(card.name, pretrained=True, weights=weights, progress=progress, **options)
    if reducer is not None:
        model.reducer = reducer
    model.to(choose_device(device))
    drawn, unreadable = [], []
    with progress_bar("drawing", "files") as progress:
        for number, file in enumerate(files):
            progress(number, len(files))
            try:
                drawn.append(drawing.draw(model, file, schedules, behind, "size" if attention else "mean"))
            except MediaError as error:
                unreadable.append(str(error))
    if drawn:
        typer.echo(saving.save(drawn, target))
        for path in saving.save_sounds(drawn[0], listen) if listen is not None else ():
            typer.echo(path)
    if unreadable:
        more = f" (and {len(unreadable) - 1} more unreadable)" if len(unreadable) > 1 else ""
        fail(unreadable[0] + more)


def _usual(card: Any) -> list[Any]:
    """No merging, and the r that the card recommends."""
    return list(dict.fromkeys([0, card.merging.default_r]))


def _block(text: str | None) -> Any:
    if text is None or text == "all":
        return text
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(f"expected a block, counted from 1, or 'all', got {text!r}", param_hint="--block")
    return int(text)


def _refuse_overwriting(files: list[Path], *targets: Path | None) -> None:
    for target in targets:
        if target is not None and target.resolve() in [file.resolve() for file in files]:
            fail(f"{target}: this would overwrite the file that is drawn; choose another name")
