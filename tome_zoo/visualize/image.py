"""Groups of an image: the input, and beside it a column for each schedule or block."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from tome_zoo import schedule
from tome_zoo.visualize.paint import Fill, Painted, paint
from tome_zoo.visualize.sheet import Panel, sheet
from tome_zoo.visualize.subject import Subject, colours
from tome_zoo.visualize.token_groups import Groups


def image_panels(subject: Subject, view: Tensor, found: Sequence[Groups], fill: Fill = "mean") -> list[Panel]:
    """The input, then each of the groups.

    Args:
        subject: The model.
        view: `[3, height, width]`, as the model takes it.
        found: Groups of that view, at several schedules or behind several blocks.
        fill: What a group is filled with.
    """
    pixels = colours(subject, view)
    panels = [Panel(Painted(pixels), "input")]
    return panels + [Panel(paint(pixels, groups, fill)[0], title(groups), caption(groups)) for groups in found]


def render_image(
    subject: Subject, view: Tensor, found: Sequence[Groups], fill: Fill = "mean", scale: int | None = None
) -> Image.Image:
    """The panels of `image_panels` side by side, `scale` times as large as the input (None: as fits)."""
    return sheet([image_panels(subject, view, found, fill)], scale)


def title(groups: Groups) -> str:
    """The schedule and, unless it is the last, the block: "r = 8", "r = 8, block 3 of 12"."""
    text = f"r = {schedule.format(groups.r)}"
    return text if groups.block == groups.depth else f"{text}, block {groups.block} of {groups.depth}"


def caption(groups: Groups) -> tuple[str, ...]:
    """Tokens left and, behind the last block, the prediction."""
    lines = [f"{groups.n_tokens} of {groups.n_input} tokens"]
    if groups.prediction and groups.block == groups.depth:
        best = groups.prediction[0]
        lines.append(f"{best.label}, {100 * best.probability:.0f} %")
    return tuple(lines)
