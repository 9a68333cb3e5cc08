"""What every format shares: samples, their classes, and where a split is looked for."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from tome_zoo.cards.schema import DatasetCard
from tome_zoo.errors import DataError, printable
from tome_zoo.modalities.inputs import Span

Target = int | tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One file and what is in it.

    Attributes:
        id: Its path relative to the folder of the classes or of the list (of Kinetics' and AudioSet's csv: to the
            root), with forward slashes; the same on every machine. A missing file has the path where it should lie. Of
            a stretch, "#" and its seconds follow.
        path: Where it lies.
        target: Its class, or, in a data set of several classes a sample, all of them in ascending order.
        span: The stretch of the file that is the sample, in seconds; None is all of it.
    """

    id: str
    path: Path
    target: Target
    span: Span | None = None

    def __post_init__(self) -> None:
        """Make the id a text that can be written, whatever bytes the file's name has."""
        object.__setattr__(self, "id", printable(self.id))


@dataclass(frozen=True)
class Listing:
    """What a format reads of a split.

    Attributes:
        samples: In the order of the list, or of the sorted folders.
        labels: Names of the classes; empty when nobody knows them.
        folders: Where the files of the split lie, and as far as can be told no others.
    """

    samples: list[Sample]
    labels: tuple[str, ...]
    folders: tuple[Path, ...]


class Classes:
    """Finds the number of a class by its identifier or name, regardless of case, spaces, underscores and punctuation.

    Attributes:
        names: In the order of a model's outputs; empty when nobody knows them.
    """

    def __init__(self, card: DatasetCard, ids: Sequence[str], names: Sequence[str]) -> None:
        """Index the identifiers and names of a card's classes; both empty where it lists none."""
        self.card, self.names = card, tuple(names)
        self._exact = _unique(names) | _unique(ids)
        # Names that only punctuation tells apart are found by their exact spelling alone.
        self._loose = _unique([plain(name) for name in names])

    def find(self, text: str) -> int | None:
        """The number of a class; None if there is no such class, or if several are called so."""
        return self._exact[text] if text in self._exact else self._loose.get(plain(text))

    def target(self, indices: Iterable[int]) -> Target:
        """The target of a sample of these classes; raises ValueError for several where the card allows one."""
        unique = tuple(sorted(set(indices)))
        if self.card.multi_label:
            return unique
        if len(unique) != 1:
            raise ValueError(f"expected one label, got {len(unique)}")
        return unique[0]

    def parse(self, labels: str, where: str) -> Target:
        """The target of identifiers or names between commas.

        Raises:
            DataError: If one is no class; the message begins with `where`.
        """
        found = []
        for label in filter(None, (part.strip() for part in labels.split(","))):
            index = self.find(label)
            if index is None:
                raise DataError(f"{where}: {label!r} is no class of data set {self.card.name}")
            found.append(index)
        try:
            return self.target(found)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None


@dataclass(frozen=True)
class Source:
    """Which split of which data set is looked for, and where.

    Attributes:
        root: The folder of the data set, or the list itself.
        split: A key of `card.splits`.
        classes: Those of the card.
    """

    root: Path
    card: DatasetCard
    split: str
    classes: Classes

    @property
    def places(self) -> tuple[str, ...]:
        """What the split may be called: the names on the card, then that of the split itself."""
        return tuple(dict.fromkeys((*self.card.splits[self.split], self.split)))

    @property
    def stems(self) -> tuple[str, ...]:
        """The same without endings, as folders are called."""
        return self.stems_of(self.split)

    def stems_of(self, split: str) -> tuple[str, ...]:
        """How the folders of a split may be called."""
        return tuple(dict.fromkeys(_without_ending(place) for place in (*self.card.splits[split], split)))

    def lists(self, endings: tuple[str, ...]) -> tuple[str, ...]:
        """The same with these endings, as lists are called; a place that has one of them is taken as it is."""
        return tuple(
            dict.fromkeys(
                name
                for place in self.places
                for name in ([place] if place.endswith(endings) else [_without_ending(place) + e for e in endings])
            )
        )

    def training(self, endings: tuple[str, ...]) -> tuple[str, ...]:
        """How lists of the training split may be called; none where the card has no such split."""
        return replace(self, split="train").lists(endings) if "train" in self.card.splits else ()

    @property
    def folder(self) -> Path:
        """The root, or where the root is a list, the folder that it lies in."""
        return self.root.parent if self.root.is_file() else self.root

    def first(self, candidates: Iterable[str], kind: str = "file") -> Path | None:
        """The first that lies there, relative to the root."""
        for name in candidates:
            path = self.root / name
            if path.is_file() if kind == "file" else path.is_dir():
                return path
        return None


class Collector:
    """Collects the samples of a list; each file once."""

    def __init__(self, listing: Path, root: Path) -> None:
        """Collect what `listing` names; ids are relative to `root`."""
        self.listing, self.root = listing, root
        self._first: dict[str, tuple[str, Target]] = {}
        self._samples: list[Sample] = []

    def add(self, name: str, target: Target, where: str, *, again: bool = False, span: Span | None = None) -> None:
        """Add the file of that path, relative to the root or absolute.

        Args:
            name: Its path, as the list states it.
            target: Its class or classes.
            where: Its line, for messages.
            again: Whether a file may be named twice with the same target; it counts once.
            span: The stretch of it, in seconds.

        Raises:
            DataError: If it was named before.
        """
        path = self.root / name
        inside = path.relative_to(self.root) if os.path.isabs(name) and path.is_relative_to(self.root) else name
        key = os.path.normpath(inside).replace(os.sep, "/") + (f"#{span.start:g}-{span.end:g}" if span else "")
        if key in self._first:
            line, before = self._first[key]
            if again and before == target:
                return
            raise DataError(f"{self.listing}, {where}: {name!r} was listed before, at {line}; remove one of them")
        self._first[key] = (where, target)
        self._samples.append(Sample(key, path, target, span))

    def done(self, expected: str) -> list[Sample]:
        """The samples; DataError if there are none."""
        if not self._samples:
            raise DataError(f"{self.listing}: the list is empty; expected {expected}")
        return self._samples

    def folders(self) -> tuple[Path, ...]:
        """The folders right below the root that hold samples, or the root itself where one lies there."""
        tops = {key.partition("/")[0] if "/" in key else "." for key in self._first}
        return tuple(self.root / name for name in sorted(tops - {"", ".."}))


def _without_ending(place: str) -> str:
    return str(PurePath(place).with_suffix("")) if place.endswith((".csv", ".txt", ".json", ".tsv")) else place


def plain(name: str) -> str:
    """A name reduced to what folders keep of it: letters and digits, in lower case."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _unique(keys: Sequence[str]) -> dict[str, int]:
    """Position of each key that occurs once."""
    found: dict[str, int | None] = {}
    for index, key in enumerate(keys):
        found[key] = None if key in found else index
    return {key: index for key, index in found.items() if key and index is not None}
