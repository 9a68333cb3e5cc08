"""Sounds at another rate, block by block: torchaudio's resampling with memory for one block."""

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
import torchaudio.transforms
from torch import Tensor

_BLOCK = 1 << 20  # samples, more than 20 s of the usual rates: clips are resampled in one piece


class Resampler:
    """Takes samples as they come and gives them at another rate."""

    def __init__(self, rate: int, wanted: int) -> None:
        """From `rate` to `wanted`, both in Hz."""
        # A ratio of small whole numbers keeps the kernel small for odd rates; it is off by 1e-7 at most.
        ratio = Fraction(rate, wanted).limit_denominator(2000)
        self._step, self._new = ratio.numerator, ratio.denominator
        self._resample = _transform(self._step, self._new)
        # Whole steps of context at either side, so that the filter never sees the end of a block.
        reach = 0 if self._step == self._new else self._resample.width + self._step
        self._context = -(-reach // self._step) * self._step
        self._size = max(1, _BLOCK // self._step) * self._step
        self._waiting: list[Tensor] = []
        self._length = 0  # of what waits, context included
        self._before = 0  # samples of context in front of what waits

    def add(self, samples: np.ndarray) -> list[Tensor]:
        """Take samples, [samples], float32; give what is ready."""
        self._waiting.append(torch.from_numpy(samples))
        self._length += len(samples)
        if self._step == self._new:
            return self.finish()
        ready = []
        while self._length >= self._before + self._size + self._context:
            waiting = torch.cat(self._waiting)
            end = self._before + self._size
            out = self._resample(waiting[: end + self._context])
            first = self._before // self._step * self._new
            ready.append(out[first : first + self._size // self._step * self._new])
            kept = min(self._context, end)
            self._waiting = [waiting[end - kept :]]
            self._length, self._before = len(self._waiting[0]), kept
        return ready

    def finish(self) -> list[Tensor]:
        """The rest."""
        if self._length == self._before:
            return []
        waiting = torch.cat(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        out = self._resample(waiting)[self._before // self._step * self._new :]
        self._waiting, self._length, self._before = [], 0, 0
        return [out]


@lru_cache(maxsize=4)
def _transform(step: int, new: int) -> torchaudio.transforms.Resample:
    """torchaudio's resampling with its kernel at hand: files of one rate are the rule."""
    return torchaudio.transforms.Resample(step, new, dtype=torch.float32)
