"""What an evaluation has to do: which samples are left, batch by batch, and their decoding."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tome_zoo.cards.schema import ModelCard, ProtocolCard
from tome_zoo.data.dataset import Dataset
from tome_zoo.data.decode import Decoded, decode


@dataclass(frozen=True)
class Work:
    """What is to be scored, and how.

    Attributes:
        batch_size: Views a forward.
        workers: Processes that decode; 0 decodes in this one.
        where: On what it is computed, as timings state it.
    """

    data: Dataset
    protocol: ProtocolCard
    card: ModelCard
    batch_size: int
    workers: int
    where: str = ""

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
        wanted = [index for batch in batches for index in batch.indices]
        items = decode(self.data, wanted, self.card, self.protocol, workers=self.workers, pin_memory=pin_memory)
        for batch in batches:
            yield list(itertools.islice(items, len(batch.indices)))


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
