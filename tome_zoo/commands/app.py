"""The command line: every command under one name."""

from typing import Annotated

import typer

from tome_zoo import __version__
from tome_zoo.commands import (
    bench,
    cards,
    check_data,
    demo,
    embed,
    evaluate,
    explore,
    paper,
    predict,
    predictions,
    report,
    show,
    train,
)  # fmt: skip
from tome_zoo.commands.console import Cards, Group, Verbose

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Vision transformers for images, video and audio whose tokens merge as they run (Token Merging).",
)


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


app.command("list")(cards.list_command)
app.command("info")(cards.info)
app.command("predict")(predict.predict)
app.command("predictions")(predictions.predictions)
app.command("show")(show.show)
app.command("eval")(evaluate.eval_command)
app.command("check-data")(check_data.check_data)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.command("paper")(paper.paper)
app.command("explore")(explore.explore)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("embed")(embed.embed)
app.command("fetch")(cards.fetch)


if __name__ == "__main__":
    main()
