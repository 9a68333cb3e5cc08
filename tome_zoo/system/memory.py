"""Peak memory of a block of code: what CUDA's allocator gave out, or what of the process lay in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

MIB = 2**20
PROC = Path("/proc/self")
_RESET_PEAK = "5"  # see proc(5), clear_refs: the mark of the highest resident set starts anew


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice: Python's, torch's on a CPU or on a GPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@dataclass
class Peak:
    """What `track_peak` found.

    Attributes:
        mib: Peak memory in MiB (2^20 bytes), once the block has ended; None where the system does not tell.
    """

    mib: float | None = None


@contextmanager
def track_peak(device: torch.device) -> Iterator[Peak]:
    """Measure the peak memory of a block, weights and all else that was there before it included.

    CUDA: the most bytes that torch's allocator had given out on the device. CPU: the largest resident set of the whole
    process, on Linux only; memory that the process keeps from earlier work counts, so that a small block behind a large
    one looks no smaller than what was kept. It costs some tens of microseconds. Blocks do not nest: an inner one starts
    the outer's count anew.

    Args:
        device: Where the work is done.

    Yields:
        The peak, whose `mib` is set when the block ends, also by an error.
    """
    peak = Peak()
    started = _start(device)
    try:
        yield peak
    finally:
        peak.mib = _read(device) if started else None


def _start(device: torch.device) -> bool:
    """Forget earlier peaks; whether that was possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if device.type != "cpu":
        return False
    try:
        (PROC / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _read(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    try:
        lines = (PROC / "status").read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if kib is None else int(kib) / 1024
