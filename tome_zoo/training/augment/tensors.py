"""Cheap augmentations of a batch of views, by name: a batch and a generator (on the CPU) to a batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from tome_zoo.errors import TomeZooError

Augmentation = Callable[[Tensor, Generator], Tensor]


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror every second sample left to right (the last axis)."""
    return _half(x, generator, x.flip(-1))


def turn(x: Tensor, generator: Generator) -> Tensor:
    """Turn the batch by a random number of quarters; for square pictures."""
    return torch.rot90(x, _draw(4, generator), (-2, -1))


def shift(x: Tensor, generator: Generator) -> Tensor:
    """Move the batch by up to a sixteenth of its height and width, around the edge."""
    reach = [x.shape[axis] // 16 for axis in (-2, -1)]
    return torch.roll(x, [_draw(2 * n + 1, generator) - n for n in reach], (-2, -1))


def delay(x: Tensor, generator: Generator) -> Tensor:
    """Move spectrograms `[batch, 1, frames, bins]` along time by any amount, around the end."""
    return torch.roll(x, _draw(x.shape[-2], generator), -2)


def channels(x: Tensor, generator: Generator) -> Tensor:
    """Put the channels of the batch in another order."""
    return x[:, torch.randperm(x.shape[1], generator=generator).to(x.device)]


def negate(x: Tensor, generator: Generator) -> Tensor:
    """Turn every second sample into its negative."""
    return _half(x, generator, -x)


def noise(x: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise of standard deviation 0.1."""
    return x + 0.1 * torch.randn(x.shape, generator=generator).to(x.device)


AUGMENTATIONS: dict[str, Augmentation] = {
    function.__name__: function for function in (flip, turn, shift, delay, channels, negate, noise)
}


def chain(names: Sequence[str]) -> Augmentation:
    """One augmentation out of several.

    Raises:
        TomeZooError: If a name is unknown.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise TomeZooError(f"no augmentation is named {name!r}; there are {', '.join(AUGMENTATIONS)}")
    functions = [AUGMENTATIONS[name] for name in names]

    def apply(x: Tensor, generator: Generator) -> Tensor:
        for function in functions:
            x = function(x, generator)
        return x

    return apply


def _draw(n: int, generator: Generator) -> int:
    return int(torch.randint(n, (), generator=generator))


def _half(x: Tensor, generator: Generator, other: Tensor) -> Tensor:
    chosen = (torch.rand(len(x), generator=generator) < 0.5).to(x.device)
    return torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), other, x)
