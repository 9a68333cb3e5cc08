"""Times of several ways to do the same, taken in turn so that a slow moment of the machine strikes all of them."""

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tome_zoo.errors import TomeZooError
from tome_zoo.system.memory import track_peak

log = logging.getLogger(__name__)

Step = Callable[[], object]
LEAST_ROUNDS = 3


@dataclass
class StepTiming:
    """What was seen of one way.

    Attributes:
        seconds: Of each round; empty where it failed.
        first: Seconds of the very first call, in which compilation happens.
        peak_mib: Peak memory of one call, see `memory.track_peak`.
        status: "ok", "out of memory", "refused" (by this package, with a reason) or "failed".
        reason: Why it is not "ok".
    """

    seconds: list[float] = field(default_factory=list)
    first: float | None = None
    peak_mib: float | None = None
    status: str = "ok"
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether every call succeeded."""
        return self.status == "ok"

    def fail(self, error: Exception) -> None:
        """Note why there are no times."""
        self.status, self.reason = status_and_reason(error)
        self.seconds.clear()


def status_and_reason(error: Exception) -> tuple[str, str]:
    """Status and reason, one line, of an error."""
    text = next(iter(str(error).strip().splitlines()), "")[:300]
    if isinstance(error, TomeZooError):
        return "refused", text
    cuda = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if cuda or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        return "out of memory", text
    return "failed", f"{type(error).__name__}: {text}"


def time_in_turn(
    steps: Sequence[Step], device: torch.device, *, seconds: float = 10.0, rounds: int | None = None
) -> list[StepTiming]:
    """Call all steps once a round, another one first in each round, and take the time of every call.

    Before that each is called three times: for the first call (compilation), for its peak memory, and once more to
    warm up. Before and after each call the device is synchronised. A step that fails is left out from then on.

    Args:
        steps: What to time.
        device: Where they work.
        seconds: Rounds are added until they have taken that long, at least 3.
        rounds: Exactly so many instead.
    """
    timings = [StepTiming() for _ in steps]

    def unfailed() -> list[int]:
        return [index for index, timing in enumerate(timings) if timing.ok]

    for index in unfailed():
        timings[index].first = _timed(steps[index], timings[index], device)
    gc.collect()
    for index in unfailed():
        _trim(device)
        with track_peak(device) as peak:
            _timed(steps[index], timings[index], device)
        timings[index].peak_mib = peak.mib
    for index in unfailed():
        _timed(steps[index], timings[index], device)
    begin, turn = time.perf_counter(), 0
    while turn < rounds if rounds else turn < LEAST_ROUNDS or time.perf_counter() - begin < seconds:
        timed = unfailed()
        if not timed:
            break
        first = turn % len(timed)
        for index in timed[first:] + timed[:first]:
            taken = _timed(steps[index], timings[index], device)
            if taken is not None:
                timings[index].seconds.append(taken)
        turn += 1
    return timings


def median(values: Sequence[float]) -> float:
    """The median."""
    return float(np.median(values))


def spread(values: Sequence[float]) -> float:
    """Interquartile range over the median: 0.02 means that half of the values lie within about 1 % of it."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)


def ratios(over: StepTiming, under: StepTiming) -> list[float]:
    """How many times as long `over` took as `under`, round by round; empty unless both have all rounds."""
    if len(over.seconds) != len(under.seconds):
        return []
    return [a / b for a, b in zip(over.seconds, under.seconds, strict=True)]


def _timed(step: Step, timing: StepTiming, device: torch.device) -> float | None:
    """Seconds of one call, the device's work included; None where it fails, which is noted."""
    try:
        synchronize(device)
        begin = time.perf_counter()
        step()
        synchronize(device)
        return time.perf_counter() - begin
    except Exception as error:
        log.debug("a step failed", exc_info=True)
        timing.fail(error)
    gc.collect()  # the error's frames, and with them what filled the memory, are gone by now
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _trim(device: torch.device) -> None:
    """Have the C library give back what it keeps, so that a peak on the CPU is not that of the largest step so far."""
    if device.type == "cpu" and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
        if trim is not None:
            trim(0)
