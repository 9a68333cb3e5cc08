"""How many tokens each block merges: an `r` as people write it -> one whole number a block."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from tome_zoo.errors import ScheduleError

R = int | tuple[int, float] | list[int]
"""8: eight tokens in each block. (8, -1.0): linear, from 16 down to 0. [9, 0, 4]: block by block, then none."""

_FORMS = "write 8 (each block), (8, -1.0) (linear, here 16 down to 0) or [9, 0, 4] (block by block)"


def resolve(r: R | Sequence[int | float], depth: int) -> tuple[int, ...]:
    """Tokens to merge in each of `depth` blocks.

    `(r, inflect)` runs linearly from `r * (1 - inflect)` in the first block to `r * (1 + inflect)` in the last, each
    truncated to a whole number, as in the paper's code: over 24 blocks (65, -1.0) merges 1549 tokens, not 1560.

    Args:
        r: A constant, a pair (r, inflect) with a float second and inflect in [-1, 1], or a list with at most one whole
            number a block. A step never merges more than half of its unprotected tokens, whatever is asked for.
        depth: Number of blocks.

    Raises:
        ScheduleError: If `r` is negative, not finite, of no such form or longer than the depth.
    """
    r = canonical(r)
    if isinstance(r, int):
        return (r,) * depth
    if isinstance(r, tuple):
        return _linear(*r, depth)
    if len(r) > depth:
        raise ScheduleError(f"r has {len(r)} entries for {depth} blocks: give at most {depth}, got {r!r}")
    return tuple(r) + (0,) * (depth - len(r))


def canonical(r: R | Sequence[int | float]) -> R:
    """`r` in plain Python numbers: an int, a pair (int, float) or a list of ints.

    A tuple is linear only if it is a pair whose second is no whole number; (9, 4) is block by block, as [9, 4].

    Raises:
        ScheduleError: If `r` is of no such form, or a count is negative.
    """
    if isinstance(r, Integral) and not isinstance(r, bool):
        return _count(r)
    if isinstance(r, str) or not isinstance(r, Sequence):
        raise ScheduleError(f"r should be a whole number, a pair or a list, got {r!r}; {_FORMS}")
    if is_linear(r):
        return _count(r[0]), _slope(r[1])
    return [_count(entry) for entry in r]


def is_linear(r: object) -> bool:
    """Whether `r` is a pair (r, slope)."""
    pair = isinstance(r, tuple) and len(r) == 2
    return pair and isinstance(r[1], Real) and not isinstance(r[1], Integral)  # type: ignore[index]


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ScheduleError(f"r counts tokens: expected a whole number of at least 0, got {value!r}; {_FORMS}")
    if value < 0:
        raise ScheduleError(f"r counts tokens: expected at least 0, got {value!r}; 0 merges nothing")
    return int(value)


def _slope(value: Any) -> float:
    if not math.isfinite(value) or abs(value) > 1:
        raise ScheduleError(f"the slope of (r, slope) should lie between -1.0 and 1.0, got {value!r}")
    return float(value)


def _linear(r: int, inflect: float, depth: int) -> tuple[int, ...]:
    if depth == 1:
        return (r,)
    first = int(r * (1.0 - inflect))
    step = (2 * r - 2 * first) / (depth - 1)
    return tuple(int(first + step * block) for block in range(depth))


def parse(text: str) -> list[R]:
    """Read `--r`: "8" -> [8]; "8:-1" -> [(8, -1.0)]; "9,0,4" -> [[9, 0, 4]]; a range "0:65:5" -> [0, 5, ..., 65].

    A list of a single entry is written with a comma behind it: "30,". A range includes its stop when it hits it.

    Raises:
        ScheduleError: If the text has none of these forms.
    """
    hint = "write 8, 8:-1 (linear), 9,0,4 (block by block) or 0:65:5 (start:stop:step)"
    try:
        if "," in text:
            return [[_count(int(entry)) for entry in text.removesuffix(",").split(",")]]
        parts = text.split(":")
        if len(parts) == 1:
            return [_count(int(parts[0]))]
        if len(parts) == 2:
            pair = (_count(int(parts[0])), float(parts[1]))
            resolve(pair, depth=2)
            return [pair]
        start, stop, step = (_count(int(part)) for part in parts)
    except ScheduleError:
        raise
    except ValueError:
        raise ScheduleError(f"cannot read r {text!r}: {hint}") from None
    if step == 0 or stop < start:
        raise ScheduleError(f"r {text!r} is an empty range: expected start <= stop and a step of at least 1; {hint}")
    return list(range(start, stop + 1, step))


def format(r: R | Sequence[int | float]) -> str:
    """The text that `parse` reads back as this one `r`: "8", "8:-1", "9,0,4" or "30,"."""
    r = canonical(r)
    if isinstance(r, int):
        return str(r)
    if isinstance(r, tuple):
        return f"{r[0]}:{str(r[1]).removesuffix('.0')}"
    return ",".join(map(str, r or [0])) + ("," if len(r) < 2 else "")
