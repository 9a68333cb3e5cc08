"""`list`, `info` and `fetch`: what the cards say, and the weights they name."""

from typing import Annotated

import typer

from tome_zoo.commands.console import Cards, Json, Verbose, fail, note, progress_bar, show, show_json
from tome_zoo.commands.options import Modality, Name, Schedules, parse_schedules


def list_command(
    pattern: Annotated[str, typer.Argument(help="Wildcards as in file names, e.g. 'video_*'.")] = "*",
    modality: Annotated[Modality | None, typer.Option(help="Only models of this kind.")] = None,
    cards: Cards = None,
    as_json: Json = False,
) -> None:
    """List the models with data set, licence, parameters, and score unmerged and merged; then unmerged baselines."""
    from collections.abc import Mapping
    from fnmatch import fnmatchcase
    from typing import Any

    from tome_zoo.cards import baseline_cards, model_cards
    from tome_zoo.reports.baselines import baseline_overview, baselines_table
    from tome_zoo.reports.cards import overview, overview_table

    def chosen(cards: Mapping[str, Any]) -> list[Any]:
        found = [card for name, card in sorted(cards.items()) if fnmatchcase(name, pattern)]
        return [card for card in found if modality in (None, card.modality)]

    models, baselines = chosen(model_cards()), chosen(baseline_cards())
    if as_json:
        show_json([*map(overview, models), *map(baseline_overview, baselines)])
    else:
        show(*([overview_table(models)] if models else []), *([baselines_table(baselines)] if baselines else []))
    if not models and not baselines:
        note(f"no model matches {pattern!r}; wildcards are * and ?, as in '*mae*'")


def info(name: Name, r: Schedules = None, cards: Cards = None, as_json: Json = False) -> None:
    """Show all that is known of a model, with tokens and GMACs at each r, or of a baseline."""
    from tome_zoo.cards import baseline_cards, model_card
    from tome_zoo.reports.baselines import baseline_view
    from tome_zoo.reports.cards import details, details_view

    if name in baseline_cards():
        if r:
            fail(f"{name} is a baseline, which does not merge: leave out --r")
        card = baseline_cards()[name]
        show_json(card.model_dump(mode="json", exclude_none=True)) if as_json else show(*baseline_view(card))
        return
    data = details(model_card(name), parse_schedules(r) if r else None)
    show_json(data) if as_json else show(*details_view(data))


def fetch(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Download it anew even if it is at hand.")] = False,
    cards: Cards = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Download the weights of a model into the cache, check them, and print where they are."""
    from tome_zoo.cards import model_card
    from tome_zoo.weights.fetch import fetch as download

    card = model_card(name)
    if card.weights is None:
        fail(f"the card of {name} names no weights: bring a file with --weights")
    with progress_bar(name, "bytes") as progress:
        path = download(card.weights, progress=progress, force=force)
    show_json({"name": name, "path": str(path)}) if as_json else typer.echo(path)
