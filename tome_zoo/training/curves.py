"""The curves of a run as a picture: loss and learning rate, and the scores at each r."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SMOOTHING = 0.9


def draw_curves(lines: Sequence[dict[str, Any]], path: str | Path) -> Path:
    """Draw the lines of a history.

    Args:
        lines: From `history.read_history`.
        path: The picture to write; its ending tells the format.
    """
    from matplotlib.figure import Figure

    steps = [line for line in lines if line.get("loss") is not None]
    tried = [line for line in lines if line.get("scores")]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([line["step"] for line in steps], [line["loss"] for line in steps], color="#c8d4e3", lw=0.8)
    left.plot([line["step"] for line in steps], _smooth([line["loss"] for line in steps]), color="#1f5fa8")
    left.set(xlabel="step", ylabel="loss")
    rates = left.twinx()
    rates.plot([line["step"] for line in steps], [line["lr"] for line in steps], color="#b0713a", lw=0.8)
    rates.set_ylabel("learning rate", color="#b0713a")
    for r in dict.fromkeys(r for line in tried for r in line["scores"]):
        points = [(line["step"], line["scores"][r]) for line in tried if r in line["scores"]]
        right.plot(*zip(*points, strict=True), marker="o", ms=3, label=f"r = {r}")
    right.set(xlabel="step", ylabel=f"{tried[-1]['metric'] if tried else 'score'}, %")
    if tried:
        right.legend(frameon=False)
    for axes in (left, right, rates):
        axes.spines["top"].set_visible(False)
    figure.savefig(path, dpi=130)
    return Path(path)


def _smooth(values: Sequence[float]) -> list[float]:
    """A running average."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else SMOOTHING * found[-1] + (1 - SMOOTHING) * value)
    return found
