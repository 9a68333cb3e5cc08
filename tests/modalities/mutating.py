"""Files damaged as disks, networks and programs damage them, and what a process does with one; it is imported there."""

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tome_zoo import modalities
from tome_zoo.errors import MediaError


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three kinds of damage: bits, stretches, ends, order, and numbers near the beginning, where headers are."""
    for _ in range(rng.integers(1, 4)):
        size = len(data)
        first, last = sorted(int(i) for i in rng.integers(0, size + 1, 2))
        last = min(last, first + size // 4)
        kind = rng.integers(0, 8)
        if kind == 0:  # single bits
            changed = np.frombuffer(data, np.uint8).copy()
            places = rng.integers(0, size, rng.integers(1, 30))
            np.bitwise_xor.at(changed, places, 1 << rng.integers(0, 8, len(places), dtype=np.uint8))
            data = changed.tobytes()
        elif kind == 1:  # noise over a stretch
            data = data[:first] + rng.bytes(last - first) + data[last:]
        elif kind == 2:  # zeros, as of a download that left a gap
            data = data[:first] + bytes(last - first) + data[last:]
        elif kind == 3:  # cut short
            data = data[: max(1, int(size * rng.uniform(0.02, 1)))]
        elif kind == 4:  # a piece is missing
            data = data[:first] + data[last:] or data
        elif kind == 5:  # a piece twice
            data = data[:last] + data[first:last] + data[last:]
        elif kind == 6:  # a large or odd number in the header
            at = int(rng.integers(0, min(size, 600)))
            number = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, int(rng.integers(0, 1 << 32))][rng.integers(7)]
            data = data[:at] + number.to_bytes(4, ("big", "little")[rng.integers(2)]) + data[at + 4 :]
        else:  # something in front
            data = rng.bytes(int(rng.integers(1, 100))) + data
    return data


@dataclass(frozen=True)
class Reads:
    """What a process does: damages the file of a number, loads it, and tells what came of it and its peak memory."""

    modality: str
    spec: Any
    protocol: Any
    files: tuple[Path, ...]
    folder: Path

    def __call__(self, item: int) -> tuple[tuple[str, int], None]:
        whole = self.files[item % len(self.files)]
        path = self.folder / f"{item}{whole.suffix}"
        path.write_bytes(mutate(whole.read_bytes(), np.random.default_rng(item)))
        try:
            views = modalities.get(self.modality).load(path, self.spec, self.protocol)
            found = "scored" if bool(torch.isfinite(views).all()) else "not finite"
        except MediaError:
            found = "refused"
        path.unlink()
        return (found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), None  # KiB
