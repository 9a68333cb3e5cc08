"""`explore`: an app on this machine for one's own files."""

from typing import Annotated

import typer

from tome_zoo.commands.console import Cards, Verbose, note, sigterm_as_ctrl_c
from tome_zoo.commands.options import Device


def explore(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The model to begin with; weights are fetched.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="A free one from 7860 on, if not given.")] = None,
    host: Annotated[str, typer.Option(help="Another address lets other machines in.")] = "127.0.0.1",
    device: Device = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    cards: Cards = None,
    verbose: Verbose = 0,
) -> None:
    """Look at your own images, videos and sounds at any r beside r = 0, in an app on this machine."""
    if name is not None:
        from tome_zoo.cards import model_card

        model_card(name)  # an unknown name needs no torch to be told
    from tome_zoo.app.serve import serve

    with sigterm_as_ctrl_c():
        serve(
            name, host=host, port=port, device=device, open_browser=open_browser,
            ready=lambda address: note(f"{address}  (Ctrl-C ends it)"),
        )  # fmt: skip
