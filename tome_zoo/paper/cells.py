"""From the rows of a table to what can be run: on which model, with which weights, at which r, or why not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tome_zoo import cards, registry, schedule
from tome_zoo.cards import TableCard, TableRow
from tome_zoo.errors import TomeZooError
from tome_zoo.merge import get_reducer
from tome_zoo.schedule import R
from tome_zoo.transformer.macs import count_macs
from tome_zoo.weights.fetch import find_cached
from tome_zoo.weights.metadata import read_metadata


@dataclass(frozen=True)
class Cell:
    """A row with all that is needed to run it.

    Attributes:
        row: Of the table's card.
        model: Name; None for a row that names none.
        weights: Files, each scored apart; None stands for those of the model's card.
        r: Merging schedule; None for a baseline.
        prop_attn: Whether attention weighs tokens by size; None leaves it to the model.
        protocol: Name; None leaves it to the model.
        substituted: Whether the model is another than that of the row, so that printed figures say nothing of it.
        reason: Why it is not scored; nothing if it can be.
    """

    row: TableRow
    model: str | None
    weights: tuple[Path | None, ...] = ()
    r: R | None = None
    prop_attn: bool | None = None
    protocol: str | None = None
    substituted: bool = False
    reason: str = ""

    @property
    def text(self) -> str:
        """r as the command line writes it; nothing for a baseline."""
        return "" if self.r is None else schedule.format(self.r)


def own_cells(card: TableCard, weights: Mapping[str, Sequence[Path]], *, fetch: bool) -> list[Cell]:
    """The rows of a table on the models that they name."""
    found = []
    for row in card.filled_rows:
        if row.unavailable or row.baseline is not None:
            reason = row.unavailable or "a baseline: timed with --bench, not scored here"
            found.append(Cell(row, row.baseline, reason=reason))
            continue
        if row.model is None:
            raise TomeZooError(f"table {card.name} names no models: run it with --demo, or with --model NAME")
        files = tuple(weights.get(row.model, ()))
        try:
            r = row.r if row.macs is None else r_for_share(row.model, row.macs, row.slope, files[:1])
            reason = _lacking(row.model, files, fetch=fetch)
        except TomeZooError as error:
            r, reason = row.r, str(error)
        found.append(Cell(row, row.model, files or (None,), r, row.prop_attn, row.protocol, reason=reason))
    return found


def cells_on(
    card: TableCard, models: Iterable[str], weights: Mapping[str, Sequence[Path]], *, fetch: bool
) -> list[Cell]:
    """The grid of a table (its reducers, axes and schedules) on other models.

    A row's r becomes the one that leaves about the same part of the model's multiply-accumulates. Rows that differ in
    what only their own models have (weights, views) are one.
    """
    found = []
    for model in models:
        files = tuple(weights.get(model, ()))
        reason = _lacking(model, files, fetch=fetch)
        seen = set()
        for row in card.filled_rows:
            if row.unavailable or row.baseline is not None:
                continue
            share, slope = (row.macs, row.slope) if row.macs is not None else _share_of(row)
            r = r_for_share(model, share, slope, files[:1])
            prop_attn = row.prop_attn if _varies(card, row.part) else None
            choice = "" if row.protocol is not None else row.choice
            key = (row.part, choice, schedule.format(r), row.reducer, prop_attn)
            if key not in seen:
                seen.add(key)
                why = reason or _unsuited(model, row.reducer, files[:1])
                found.append(Cell(row, model, files or (None,), r, prop_attn, None, substituted=True, reason=why))
    return found


def r_for_share(model: str, share: float, slope: float | None = None, files: Sequence[Path] = ()) -> R:
    """The r, constant or linear by `slope`, that leaves nearly that part of a model's multiply-accumulates.

    Counted with bipartite matching, so that all reducers get the same r.
    """
    built = _meta(model, *files)
    whole = count_macs(built, 0).total
    most = int(built.patch_embed.num_patches) // 2 + 1
    tried: list[R] = [r if slope is None else (r, float(slope)) for r in range(most)]
    return min(tried, key=lambda r: abs(count_macs(built, r).total / whole - share))


@lru_cache(maxsize=32)
def _meta(model: str, file: Path | None = None) -> registry.ZooModel:
    return registry.create_model(model, device="meta", **changed_fields(file))


def changed_fields(file: Path | None) -> dict[str, Any]:
    """Fields in which the architecture of a file of weights differs from the model's card."""
    return {} if file is None else read_metadata(file).architecture


def _share_of(row: TableRow) -> tuple[float, float | None]:
    """Which part of its own model's multiply-accumulates a row leaves, and the slope of its r."""
    if row.model is None or row.r is None or row.r == 0:
        return 1.0, None
    built = _meta(row.model)
    slope = row.r[1] if isinstance(row.r, tuple) else None
    return count_macs(built, row.r).total / count_macs(built, 0).total, slope


def _varies(card: TableCard, part: str) -> bool:
    """Whether the rows of a part differ in proportional attention."""
    return len({row.prop_attn for row in card.filled_rows if row.part == part}) > 1


def _unsuited(model: str, reducer: str, files: Sequence[Path]) -> str:
    """Why a model cannot reduce so; nothing if it can."""
    if get_reducer(reducer).class_token and _meta(model, *files).cls_token is None:
        return "the model has no class token, by whose attention this reducer chooses"
    return ""


def _lacking(model: str, files: Sequence[Path], *, fetch: bool) -> str:
    """Why there are no weights to score with; nothing if there are."""
    card = cards.model_card(model)
    if files:
        return ""
    if card.architecture.num_classes == 0:
        return "only an encoder is published: bring a fine-tuned file with --weights NAME=FILE"
    if card.weights is None:
        return "the card names no weights: bring a file with --weights NAME=FILE"
    if find_cached(card.weights) is not None or (fetch and not card.weights.by_hand):
        return ""
    return card.weights.by_hand or f"weights are not at hand: `tome-zoo fetch {model}`, or --fetch"


def weights_by_model(texts: Iterable[str]) -> dict[str, list[Path]]:
    """Files of weights by the model that they belong to: "NAME=FILE", or a file that says so itself.

    Raises:
        TomeZooError: If a file is not there, or does not say of which model it is, or a model's files are of different
            architectures.
    """
    found: dict[str, list[Path]] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        path = Path(file if equals else text).expanduser()
        if not path.is_file():
            raise TomeZooError(f"expected a file of weights, found none at {path}")
        model = name if equals else read_metadata(path).model
        if not model:
            raise TomeZooError(f"{path} does not say of which model it is: write NAME={path}")
        files = found.setdefault(model, [])
        files.append(path)
        first, own = changed_fields(files[0]), changed_fields(path)
        if own != first:
            raise TomeZooError(
                f"expected weights of one architecture of {model}, got {files[0]} with {first or 'that of the card'} "
                f"and {path} with {own or 'that of the card'}: run each apart"
            )
    return found
