"""What an evaluation has to do: which samples are left, batch by batch, and their decoding."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from tome_zoo.cards.schema import ModelCard, ProtocolCard
from tome_zoo.data.dataset import Dataset, SampleViews
from tome_zoo.evaluation.shard import Stamp, stamp


class Decoded(NamedTuple):
    """A sample as it comes from a worker.

    Attributes:
        number: Which one.
        views: `[views, channels, ...]`, or None.
        reason: Why there are none.
        stamp: Of the file, taken before it was read.
    """

    number: int
    views: Tensor | None
    reason: str | None
    stamp: Stamp


@dataclass(frozen=True)
class Work:
    """What is to be scored, and how.

    Attributes:
        batch_size: Views a forward.
        workers: Processes that decode; 0 decodes in this one.
    """

    data: Dataset
    protocol: ProtocolCard
    card: ModelCard
    batch_size: int
    workers: int

    @property
    def n_views(self) -> int:
        """Views of a sample."""
        return self.protocol.temporal_views * self.protocol.spatial_views

    @property
    def samples_a_batch(self) -> int:
        """How many samples go through the model at a time; at least one."""
        return max(1, self.batch_size // self.n_views)

    def decoded(self, batches: Sequence["Batch"], pin_memory: bool) -> Iterator[list[Decoded]]:
        """The samples of each batch, decoded once, in order."""
        loader = DataLoader(
            Subset(
                _Stamped(SampleViews(self.data, self.card, self.protocol)),
                [index for batch in batches for index in batch.indices],
            ),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_same,
            pin_memory=pin_memory,
        )
        items = iter(loader)
        for batch in batches:
            yield list(itertools.islice(items, len(batch.indices)))


class _Stamped(torch.utils.data.Dataset[Decoded]):
    """Decoded samples with the stamps of their files."""

    def __init__(self, samples: SampleViews) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> Decoded:
        before = stamp(self.samples.dataset.samples[index].path)
        return Decoded(*self.samples[index], before)


class Batch(NamedTuple):
    """Samples that are decoded together.

    Attributes:
        indices: All that some run lacks.
        lacking: Those that each run lacks.
    """

    indices: tuple[int, ...]
    lacking: tuple[tuple[int, ...], ...]


def pending(chosen: Sequence[int], size: int, done: Sequence[set[int]]) -> list[Batch]:
    """The batches that are left to do.

    Batches are fixed stretches of the chosen samples, whoever computes them and however often the work was interrupted,
    so that a sample always goes through the model in the same company: its scores come out the same to the last bit.

    Args:
        chosen: Samples of the evaluation.
        size: Samples a batch.
        done: What each run has already.
    """
    found = []
    for start in range(0, len(chosen), size):
        stretch = chosen[start : start + size]
        lacking = tuple(tuple(i for i in stretch if i not in have) for have in done)
        indices = tuple(i for i in stretch if any(i in lack for lack in lacking))
        if indices:
            found.append(Batch(indices, lacking))
    return found


def _same(item: Any) -> Any:
    return item
