"""Where a model runs: the device and dtype, the processor, and how many processes decode for it."""

import os
import platform
from functools import cache
from pathlib import Path

import torch

from tome_zoo.errors import TomeZooError
from tome_zoo.system import distributed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MOST_DECODERS = 8


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device of that name; without one CUDA where there is a device, else the CPU.

    Of several processes on a machine each takes a GPU of its own, unless the name has a number.

    Raises:
        TomeZooError: If torch cannot use it.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda" and chosen.index is None:
            chosen = torch.device("cuda", distributed.current_rank().local_rank)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch's own way to say that it was built without CUDA
        reason = str(error).splitlines()[0]
        raise TomeZooError(f"device {str(device)!r} cannot be used ({reason}): try cpu, cuda or cuda:0") from None
    return chosen


def decoders(device: torch.device) -> int:
    """How many processes decode for a model: none on a CPU, which has enough to do, else a share of the processors."""
    if device.type == "cpu":
        return 0
    return max(1, min(MOST_DECODERS, cores() // distributed.current_rank().local_world_size))


def processor_name() -> str:
    """What the processor calls itself, as far as the system tells."""
    return _processor_facts().get("model name") or platform.processor() or platform.machine()


def made_by_intel() -> bool:
    """Whether Intel made the processor."""
    return "GenuineIntel" in (_processor_facts().get("vendor_id") or platform.processor())


def cores() -> int:
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _processor_facts() -> dict[str, str]:
    """What Linux says of the first core."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            first = file.read(4096).partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
