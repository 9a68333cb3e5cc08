"""All cards that are known: those that ship with the package, and folders that a user adds."""

import difflib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from tome_zoo.cards.read import TABLES, Card, read_folder, table_names
from tome_zoo.cards.schema import BaselineCard, DatasetCard, ModelCard, ProtocolCard, RecipeCard, TableCard
from tome_zoo.errors import CardError, UnsupportedModelError

KINDS = ("models", "datasets", "eval")
T = TypeVar("T")


def card_folder(kind: str) -> Path:
    """Folder of the cards that ship: inside the installed package, else beside the checkout's pyproject.toml.

    Args:
        kind: "models", "datasets" or "eval".

    Raises:
        CardError: If `kind` is another word, or the folder is neither here nor there.
    """
    if kind not in KINDS:
        raise CardError(f"card folders are {', '.join(KINDS)}; got {kind!r}")
    installed = Path(__file__).resolve().parent / kind
    checkout = Path(__file__).resolve().parents[2]
    if installed.is_dir():
        return installed
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    raise CardError(f"no folder of cards at {installed}: the installation is incomplete, install tome-zoo again")


@dataclass
class _Catalogue:
    """Cards by kind (a key of `read.TABLES`) and name, and the file each one came from."""

    cards: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in TABLES})
    origin: dict[tuple[str, str], Path] = field(default_factory=dict)

    def plus(self, folders: Iterable[Path]) -> "_Catalogue":
        """A copy with the cards of more folders; nothing is half added when one of them is at fault."""
        new = _Catalogue({kind: dict(known) for kind, known in self.cards.items()}, dict(self.origin))
        added = [item for folder in folders for item in read_folder(folder)]
        for path, card in added:
            kind = _kind(card)
            # a model and a baseline are asked for by the same commands
            for other in ("model", "baseline") if kind in ("model", "baseline") else (kind,):
                if card.name in new.cards[other]:
                    first = new.origin[other, card.name]
                    raise CardError(f"{path}: {kind} {card.name!r} is already defined in {first}; give it another name")
            new.cards[kind][card.name] = card
            new.origin[kind, card.name] = path
        for path, card in added:
            if isinstance(card, ModelCard):
                new._check_references(path, card)
        return new

    def _check_references(self, path: Path, card: ModelCard) -> None:
        where = f"{path}: model {card.name!r}"
        try:
            dataset, protocol = (
                find("dataset", card.dataset, self.cards["dataset"]),
                find("protocol", card.protocol, self.cards["protocol"]),
            )
        except CardError as error:
            raise CardError(f"{where}: {error}") from None
        for kind, other in (("dataset", dataset), ("protocol", protocol)):
            if other.modality != card.modality:
                raise CardError(f"{where}: is for {card.modality}, but {kind} {other.name!r} is for {other.modality}")
        if (protocol.metric == "map") != dataset.multi_label:
            raise CardError(
                f"{where}: protocol {protocol.name!r} measures {protocol.metric}, but data set {dataset.name!r} "
                f"{'has' if dataset.multi_label else 'has not'} several labels a sample"
            )
        if dataset.num_classes is not None and card.architecture.num_classes not in (0, dataset.num_classes):
            raise CardError(
                f"{where}: field 'architecture.num_classes' is {card.architecture.num_classes}, but data set "
                f"{dataset.name!r} has {dataset.num_classes} classes; give that, or 0 for an encoder"
            )


def _kind(card: Card) -> str:
    return next(kind for kind, schema in TABLES.items() if isinstance(card, schema))


def find(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The entry of that name.

    Raises:
        CardError: If there is none; the message lists the nearest names.
    """
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(sorted(known)[:5])} ..."
    raise CardError(f"no {kind} is named {name!r}; {hint}")


_lock = threading.Lock()
_folders: list[Path] = []
_current: _Catalogue | None = None


def _catalogue() -> _Catalogue:
    global _current
    with _lock:
        if _current is None:
            _current = _Catalogue().plus([*map(card_folder, KINDS), *_folders])
        return _current


def register_cards(path: str | Path) -> tuple[str, ...]:
    """Add a folder of one's own cards: every `*.toml` in it, holding tables of the kinds in `read.TABLES`.

    Weights and label files with a relative path lie beside the card.

    Returns:
        Names of the models added.

    Raises:
        CardError: If the folder holds no card, a card does not fit its schema, a name is taken, or a model names a
            data set or protocol that does not exist. Nothing is added then.
    """
    global _current
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise CardError(f"expected a folder of cards (*.toml), got {str(path)!r}")
    before = _catalogue()
    after = before.plus([folder])
    if len(after.origin) == len(before.origin):
        raise CardError(f"{folder} holds no card: expected *.toml with tables {table_names()}")
    with _lock:
        _folders.append(folder)
        _current = after
    return tuple(name for name in after.cards["model"] if name not in before.cards["model"])


def unregister_cards(path: str | Path) -> None:
    """Take back `register_cards(path)`; does nothing when that folder was not added."""
    global _current
    folder = Path(path).expanduser().resolve()
    with _lock:
        if folder in _folders:
            _folders.remove(folder)
            _current = None


def reload_cards() -> None:
    """Read all cards again when next asked, for instance after a card was written."""
    global _current
    with _lock:
        _current = None


def card_file(name: str) -> Path:
    """The TOML file of the model card of that name; CardError with the nearest names if there is none."""
    find("model", name, model_cards())
    return _catalogue().origin["model", name]


def model_cards() -> Mapping[str, ModelCard]:
    """All model cards by name; read-only."""
    return MappingProxyType(_catalogue().cards["model"])


def dataset_cards() -> Mapping[str, DatasetCard]:
    """All data set cards by name; read-only."""
    return MappingProxyType(_catalogue().cards["dataset"])


def protocol_cards() -> Mapping[str, ProtocolCard]:
    """All protocol cards by name; read-only."""
    return MappingProxyType(_catalogue().cards["protocol"])


def recipe_cards() -> Mapping[str, RecipeCard]:
    """All recipe cards by name; read-only."""
    return MappingProxyType(_catalogue().cards["recipe"])


def baseline_cards() -> Mapping[str, BaselineCard]:
    """All baseline cards by name; read-only."""
    return MappingProxyType(_catalogue().cards["baseline"])


def table_cards() -> Mapping[str, TableCard]:
    """All cards of tables by name; read-only."""
    return MappingProxyType(_catalogue().cards["table"])


def model_card(name: str) -> ModelCard:
    """The model card of that name, or one made for a vision transformer that timm knows by that name.

    A card of the zoo comes first, also for a name of timm without its tag.

    Raises:
        CardError: If neither the zoo nor timm has the name; the message lists the nearest ones.
        UnsupportedModelError: If it is a baseline, or timm has it, but it cannot be merged exactly.
    """
    known = model_cards()
    if name in known:
        return known[name]
    if name in baseline_cards():
        library = baseline_cards()[name].library
        raise UnsupportedModelError(
            f"{name} is a baseline, which has no tokens to merge at any r: `tome-zoo bench` times it beside merging "
            f"models, `tome-zoo info` says what was reported of it; its weights are with {library}"
        )
    from tome_zoo.cards import timm_models  # imports torch

    full = timm_models.full_name(name)
    if full is None:
        near = timm_models.nearest_names(name, known)
        hint = f"nearest: {', '.join(near)}" if near else "`tome-zoo list` names the zoo's"
        raise CardError(f"no model is named {name!r}, in the zoo or in timm; {hint}")
    return known[full] if full in known else timm_models.timm_card(full)


def dataset_card(name: str) -> DatasetCard:
    """The data set card of that name; CardError with the nearest names if there is none."""
    return find("data set", name, dataset_cards())


def protocol_card(name: str) -> ProtocolCard:
    """The protocol card of that name; CardError with the nearest names if there is none."""
    return find("protocol", name, protocol_cards())


def recipe_card(name: str) -> RecipeCard:
    """The recipe card of that name; CardError with the nearest names if there is none."""
    return find("recipe", name, recipe_cards())


def table_card(name: str) -> TableCard:
    """The card of a table of that name; CardError with the nearest names if there is none."""
    return find("table", name, table_cards())
