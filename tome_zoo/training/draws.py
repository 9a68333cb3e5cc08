"""Which sample is drawn when: the order of a run as a function of its seed, so that its position is all its state."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tome_zoo.data.dataset import Dataset
from tome_zoo.training.seeds import derive


class Draw(NamedTuple):
    """One draw: which sample, and the seed of its augmentation."""

    sample: int
    seed: int


@dataclass(frozen=True)
class DrawOrder:
    """The draws of a run.

    Attributes:
        n_samples: Samples of the data set.
        per_epoch: Draws an epoch; those that would not fill a step are left out.
        per_step: Draws of an optimiser step, over all ranks.
        repeats: Times that a sample is drawn in a row.
        weights: Of class-balanced sampling, `[n_samples]`; None shuffles.
    """

    n_samples: int
    per_epoch: int
    per_step: int
    repeats: int
    weights: Tensor | None
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        return max(1, self.per_epoch // self.per_step)

    def epoch(self, number: int) -> list[int]:
        """The samples of an epoch, in order."""
        generator = torch.Generator().manual_seed(derive(self.seed, "order", number))
        wanted = self.steps_per_epoch * self.per_step
        found: list[int] = []
        while len(found) < wanted:
            if self.weights is None:
                order = torch.randperm(self.n_samples, generator=generator)
            else:
                count = min(self.n_samples, -(-wanted // self.repeats))
                order = torch.multinomial(self.weights, count, generator=generator)
            found += order.repeat_interleave(self.repeats).tolist()
        return found[:wanted]


class RankDraws(Sequence[Draw]):
    """The draws of one rank from a step on; an epoch's order is made when it is reached.

    Successive draws of a step go to successive ranks, so that ranks together draw what one process would.
    """

    def __init__(self, order: DrawOrder, first_step: int, total: int, rank: int, world_size: int) -> None:
        """The draws of `rank` from step `first_step` to step `total`."""
        self._order, self._rank, self._world_size = order, rank, world_size
        self._per_step = order.per_step // world_size
        self._first, self._length = first_step, (total - first_step) * self._per_step
        self._epoch: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """How many there are."""
        return self._length

    def __getitem__(self, position: Any) -> Any:
        """The draw at a position."""
        if not 0 <= position < self._length:
            raise IndexError(position)
        step = self._first + position // self._per_step
        epoch, step_in_epoch = divmod(step, self._order.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._order.epoch(epoch)
        place = step_in_epoch * self._order.per_step + position % self._per_step * self._world_size + self._rank
        return Draw(self._epoch[1][place], derive(self._order.seed, "augment", epoch, place))


def class_weights(data: Dataset) -> Tensor:
    """Rarity of each sample: the sum over its classes of 1000 / (samples of the class + 0.01), float64 `[samples]`.

    Source: Gong et al., AST, arXiv 2104.01778, whose sampling Audio-MAE follows.
    """
    classes = [(s.target,) if isinstance(s.target, int) else s.target for s in data.samples]
    count = Counter(c for several in classes for c in several)
    weights = torch.tensor([sum(1000 / (count[c] + 0.01) for c in several) for several in classes], dtype=torch.float64)
    return weights.clamp(min=1e-9)
