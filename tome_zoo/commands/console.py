"""How commands talk: results on stdout, the rest on stderr; one line and exit code 2 for a user's mistake."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tome_zoo.errors import TomeZooError

USER_ERROR = 2
INTERRUPTED = 130


class Group(TyperGroup):
    """Commands whose foreseeable errors end in one line instead of a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line, in which `~` is the home; forget the folders of cards that it added."""
        os.environ.pop("MPLBACKEND", None)  # a notebook's may not be installed here, and pictures go to files
        given = args[0] if args else kwargs.pop("args", None)
        given = sys.argv[1:] if given is None else given
        try:
            return super().main([_at_home(text) for text in given], *args[1:], **kwargs)
        finally:
            if _added:
                from tome_zoo import cards

                while _added:
                    cards.unregister_cards(_added.pop())

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a user's mistake exits with 2, Ctrl-C with 130."""
        try:
            return super().invoke(ctx)
        except TomeZooError as error:
            fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        except typer.Exit:  # a RuntimeError of click's
            raise
        except (MemoryError, RuntimeError) as error:
            from tome_zoo.system.memory import is_out_of_memory

            if not is_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines() or ["refused by the system"]
            fail(f"out of memory ({reason[0]}): lower --batch-size or --workers, or free memory")
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _at_home(text: str) -> str:
    """An argument with the home in place of `~`, which shells leave in `--option=~/folder`."""
    option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    return option + equals + os.path.expanduser(value) if value.startswith("~") else text


def fail(message: str) -> NoReturn:
    """Say what is wrong in one line on stderr and exit with 2."""
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    raise typer.Exit(USER_ERROR) from None


def _register(folders: list[Path] | None) -> list[Path]:
    """Add folders of cards while this command runs; a folder named twice is added once."""
    from tome_zoo import cards

    for folder in folders or []:
        if folder.resolve() not in _added:
            cards.register_cards(folder)
            _added.append(folder.resolve())
    return folders or []


def _log(level: int) -> int:
    if level:
        from rich.logging import RichHandler

        handler = RichHandler(console=_console(sys.stderr), show_path=False)
        logging.basicConfig(
            level=logging.INFO if level == 1 else logging.DEBUG, format="%(message)s", handlers=[handler]
        )
    return level


_added: list[Path] = []


Cards = Annotated[
    list[Path] | None,
    typer.Option("--cards", metavar="DIR", callback=_register, help="Add a folder of one's own cards (repeatable)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, callback=_log, show_default=False, help="Say more on stderr (twice: more still)."
    ),
]


def show(*things: Any) -> None:
    """Print texts, as they are, and rich tables to stdout; where it is no terminal, as wide as they need."""
    console = _console(sys.stdout)
    if not sys.stdout.isatty():  # whatever FORCE_COLOR says
        console = _console(sys.stdout, width=160)
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, str))


def show_json(data: Any) -> None:
    """Print one JSON document to stdout."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def note(*things: Any) -> None:
    """Print to stderr, as it is, what is not the result."""
    for thing in things:
        _console(sys.stderr).print(thing, highlight=False, soft_wrap=isinstance(thing, str))


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Take a termination signal as Ctrl-C for a while: what was computed is written before the process ends."""

    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress_bar(description: str, unit: str = "samples", hidden: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr, if that is a terminal; yields what to call with (done, of how many, doing what)."""
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    console = _console(sys.stderr)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        amount,
        TextColumn("" if unit == "bytes" else unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=hidden or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=None)

        def update(done: int, total: int | None, doing: str = description) -> None:
            bar.update(task, completed=done, total=total, description=doing)

        yield update


def _console(file: Any, **options: Any) -> Any:
    """A rich console that takes brackets and colons in texts for what they are: names of files hold both."""
    from rich.console import Console

    return Console(file=file, markup=False, emoji=False, **options)
