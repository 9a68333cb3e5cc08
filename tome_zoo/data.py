"""A data set on disk: its samples, with ids and targets, and what a model sees of each of them."""

import difflib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tome_zoo import modalities
from tome_zoo.cards import read_labels
from tome_zoo.cards.schema import DatasetCard
from tome_zoo.datalists import Classes, Listing, Sample, read_audioset_json, read_image_folder, read_video_list
from tome_zoo.errors import CardError, DataError, MediaError
from tome_zoo.modalities.inputs import Spec, ViewProtocol

__all__ = ["Dataset", "Sample", "SampleViews", "open_dataset"]

log = logging.getLogger(__name__)

_READERS: dict[str, Callable[[Path, DatasetCard, str, Classes], Listing]] = {
    "image_folder": read_image_folder,
    "video_list": read_video_list,
    "audioset_json": read_audioset_json,
}


@dataclass(frozen=True)
class Dataset:
    """The samples of one split.

    Attributes:
        card: What the data set is.
        root: Where it lies.
        split: Name of the split, a key of `card.splits`.
        samples: In the order of the list or of the sorted folders; ids are unique.
        labels: Names of the classes in the order of a model's outputs; empty when nobody knows them.
    """

    card: DatasetCard
    root: Path
    split: str
    samples: tuple[Sample, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.samples)


def open_dataset(root: str | Path, card: DatasetCard, split: str | None = None) -> Dataset:
    """List a split of a data set. Media files are not opened: one that is missing shows when it is decoded.

    Args:
        root: The folder that `card.obtain` describes, or the list or manifest itself.
        card: What to expect there.
        split: A key of `card.splits`; None means "val" or, without one, the only split.

    Raises:
        DataError: If there is no such split, or its list is missing, empty or malformed.
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
    ids, names = ((), ()) if card.labels is None else read_labels(card.labels, card.num_classes)
    samples, labels = _READERS[card.layout](root, card, split, Classes(card, ids, names))
    return Dataset(card=card, root=root, split=split, samples=tuple(samples), labels=labels)


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
