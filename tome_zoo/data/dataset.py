"""A data set on disk: its samples, with ids and targets, and what a model sees of each of them."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tome_zoo import modalities
from tome_zoo.cards import read_classes
from tome_zoo.cards.schema import DatasetCard
from tome_zoo.data.formats import read_split
from tome_zoo.data.formats.split import Classes, Sample, Source
from tome_zoo.errors import CardError, DataError, MediaError
from tome_zoo.modalities.inputs import Spec, ViewProtocol

__all__ = ["Dataset", "Sample", "SampleViews", "chosen_indices", "open_dataset"]

log = logging.getLogger(__name__)


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


class SampleViews(torch.utils.data.Dataset[tuple[int, Tensor | None, str | None]]):
    """Decodes samples for a `DataLoader` with `batch_size=None`; one bad file does not stop the others.

    An item is (index, views [views, channels, ...] float32, None), or (index, None, why it cannot be decoded).
    """

    def __init__(self, dataset: Dataset, spec: Spec, protocol: ViewProtocol) -> None:
        """Decode for a model (`spec`, a model card) by an evaluation protocol.

        Raises:
            CardError: If the modality of the data set is unknown.
        """
        modalities.get(dataset.card.modality)
        self.dataset, self.spec, self.protocol = dataset, spec, protocol

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.dataset.samples)

    def __getitem__(self, index: int) -> tuple[int, Tensor | None, str | None]:
        """Decode a sample.

        Raises:
            CardError: If model, data set and protocol do not belong together, which no other file would mend.
        """
        path = self.dataset.samples[index].path
        modality = modalities.get(self.dataset.card.modality)
        try:
            return index, modality.views(modality.read(path, self.spec), self.spec, self.protocol), None
        except CardError:
            raise
        except (MediaError, OSError) as error:
            return index, None, str(error)
        except Exception as error:  # a decoder surprised by a damaged file must not end an evaluation of thousands
            log.debug("%s: unexpected failure", path, exc_info=True)
            return index, None, f"{path}: cannot be decoded ({type(error).__name__}: {error})"


def chosen_indices(n_samples: int, limit: int | None) -> Sequence[int]:
    """Which samples a limited evaluation takes: evenly spread, so that data sorted by class keep all their classes."""
    if limit is None or limit >= n_samples:
        return range(n_samples)
    return [i * n_samples // limit for i in range(limit)]
