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
    return panels + [
        Panel(paint(pixels, groups, fill)[0], title, caption(groups))
        for title, groups in zip(titles(found), found, strict=True)
    ]


def render_image(
    subject: Subject, view: Tensor, found: Sequence[Groups], fill: Fill = "mean", scale: int | None = None
) -> Image.Image:
    """The panels of `image_panels` side by side, `scale` times as large as the input (None: as fits)."""
    return sheet([image_panels(subject, view, found, fill)], scale)


def titles(found: Sequence[Groups]) -> list[str]:
    """The schedule of each, the reducer if it is not the default, and, if not all are those behind the last block, the
    block: "r = 8, block 3 of 12".
    """
    last = all(groups.block == groups.depth for groups in found)
    return [
        f"r = {schedule.format(groups.r)}"
        + (f", {groups.reducer}" if groups.reducer else "")
        + ("" if last else f", block {groups.block} of {groups.depth}")
        for groups in found
    ]


def caption(groups: Groups) -> tuple[str, ...]:
    """Tokens left and, behind the last block, the best class, and others that are more likely than not."""
    lines = [f"{groups.n_tokens} of {groups.n_input} tokens"]
    if groups.n_dropped and groups.block == groups.depth:
        lines.append(f"{groups.n_dropped} dropped, drawn with what stands in")
    if groups.prediction and groups.block == groups.depth:
        shown = [item for place, item in enumerate(groups.prediction) if place == 0 or item.probability >= 0.5]
        lines.append("; ".join(f"{item.label}, {100 * item.probability:.0f} %" for item in shown))
    return tuple(lines)
