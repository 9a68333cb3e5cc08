"""A data set on disk: its samples, with ids and targets."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tome_zoo.cards import read_classes
from tome_zoo.cards.schema import DatasetCard
from tome_zoo.data.formats import read_split
from tome_zoo.data.formats.split import Classes, Sample, Source
from tome_zoo.errors import DataError

__all__ = ["Dataset", "Sample", "chosen_indices", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """The samples of one split.

    Attributes:
        card: What the data set is.
        root: Where it lies.
        split: Name of the split, a key of `card.splits`.
        samples: In the order of the list or of the sorted folders; ids are unique.
        labels: Names of the classes in the order of a model's outputs; empty when nobody knows them.
        format: In which of the card's formats it was found.
        folders: Where the files of the split lie, and as far as can be told no others.
    """

    card: DatasetCard
    root: Path
    split: str
    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    format: str = ""
    folders: tuple[Path, ...] = ()

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.samples)

    @property
    def num_classes(self) -> int:
        """How many classes there are: the card's number, or where it has none, as many as lie there."""
        return len(self.labels) if self.card.num_classes is None else self.card.num_classes


def open_dataset(
    root: str | Path, card: DatasetCard, split: str | None = None, data_format: str | None = None
) -> Dataset:
    """List a split of a data set. Media files are not opened: one that is missing shows when it is decoded.

    Args:
        root: The folder that `card.obtain` describes, or the list or manifest itself.
        card: What to expect there.
        split: A key of `card.splits`; None means "val" or, without one, the only split.
        data_format: One of the modality's formats (`tome_zoo.data.formats`); None takes the first of `card.layout` that
            lies there.

    Raises:
        DataError: If there is no such split or format, or its list is missing, empty or malformed.
    """
    root = Path(root)
    if split is None:
        split = "val" if "val" in card.splits or len(card.splits) > 1 else next(iter(card.splits))
    if split not in card.splits:
        near = difflib.get_close_matches(split, card.splits, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"data set {card.name} has no split {split!r}, expected one of {', '.join(card.splits)}{hint}")
    if not root.exists():
        raise DataError(f"{root}: no such folder; expected data set {card.name} there (its card says how to obtain it)")
    ids, names = read_classes(card)
    found, listing = read_split(Source(root, card, split, Classes(card, ids, names)), data_format)
    return Dataset(
        card=card,
        root=root,
        split=split,
        samples=tuple(listing.samples),
        labels=listing.labels,
        format=found,
        folders=listing.folders,
    )


def chosen_indices(n_samples: int, limit: int | None) -> Sequence[int]:
    """Which samples a limited evaluation takes: evenly spread, so that data sorted by class keep all their classes."""
    if limit is None or limit >= n_samples:
        return range(n_samples)
    return [i * n_samples // limit for i in range(limit)]
