"""What processes of the tests do; in a file of its own, so that they import nothing else."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Does:
    """What a process does: with these items something bad, with others the item and a tensor of so many numbers."""

    bad: dict[int, str]
    numbers: int = 4
    marker: Path | None = None

    def __call__(self, item: int) -> tuple[int, torch.Tensor]:
        what = self.bad.get(item)
        if what == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "killed once" and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "exits":
            os._exit(3)
        elif what == "hangs":
            time.sleep(1000)
        return item, torch.full((self.numbers,), float(item))
