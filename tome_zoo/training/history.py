"""What a run tells of itself: `history.jsonl`, and TensorBoard's files where that is installed."""

import json
import math
from pathlib import Path
from typing import IO, Any

from tome_zoo.system import jsonl
from tome_zoo.system.files import atomic_write

HISTORY = "history.jsonl"


class History:
    """The lines of a run; those behind the checkpoint that it goes on from are dropped, as they come again."""

    def __init__(self, output: Path, step: int) -> None:
        """Open the history of a run that has done `step` steps."""
        self.path = output / HISTORY
        lines = [line for line in read_history(self.path) if line["step"] <= step] if step else []
        with atomic_write(self.path) as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        self._file: IO[str] = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(output)

    def add(self, **line: Any) -> None:
        """Append a line; numbers that are not finite become null."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        self._file.write(json.dumps(clean) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in clean.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(name, value, line["step"])
            for r, score in (line.get("scores") or {}).items():
                self._board.add_scalar(f"score at r = {r}", score, line["step"])

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history; none if there is no file."""
    if not path.exists():
        return []
    return jsonl.read(path, lambda line: {**line, "step": int(line["step"])}, "step of training", "tome-zoo train")


def _tensorboard(output: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(output / "tensorboard")
