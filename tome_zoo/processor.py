"""The processor of this machine: its name, its maker, and how many of its cores this process may use."""

import os
import platform
from functools import cache
from pathlib import Path


def name() -> str:
    """What it calls itself, as far as the system tells."""
    return _facts().get("model name") or platform.processor() or platform.machine()


def made_by_intel() -> bool:
    """Whether Intel made it."""
    return "GenuineIntel" in (_facts().get("vendor_id") or platform.processor())


def cores() -> int:
    """How many of its cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _facts() -> dict[str, str]:
    """What Linux says of the first core."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            first = file.read(4096).partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
