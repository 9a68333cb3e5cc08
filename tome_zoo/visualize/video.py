"""Groups through a clip: a contact sheet of its frames, or frame by frame beside the original."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from tome_zoo.visualize.image import caption, titles
from tome_zoo.visualize.paint import Fill, Painted, paint
from tome_zoo.visualize.sheet import Panel, sheet
from tome_zoo.visualize.subject import Subject, colours
from tome_zoo.visualize.token_groups import Groups

SHOWN = 8  # frames of a clip in a contact sheet, at most
_SPACE = 4  # pixels of the input between them


def clip_panels(subject: Subject, view: Tensor, found: Sequence[Groups], fill: Fill = "mean") -> list[list[Panel]]:
    """For each frame of a clip the original, then each of the groups; a group looks alike in all of them.

    Args:
        subject: The model.
        view: `[3, frames, height, width]`, as the model takes it.
        found: Groups of that view, at several schedules or behind several blocks.
        fill: What a group is filled with.
    """
    pixels = colours(subject, view)
    panels = [[Panel(Painted(frame), "input")] for frame in pixels]
    for title, groups in zip(titles(found), found, strict=True):
        for row, painted in zip(panels, paint(pixels, groups, fill), strict=True):
            row.append(Panel(painted, title, caption(groups)))
    return panels


def strips(panels: Sequence[Sequence[Panel]]) -> list[list[Panel]]:
    """A contact sheet: the original in the first row, each of the groups in one below, up to eight frames from left to
    right.
    """
    n_shown = min(SHOWN, len(panels))
    shown = [panels[round(number)] for number in np.linspace(0, len(panels) - 1, n_shown)]
    return [
        [Panel(_side_by_side([panel.picture for panel in row]), row[0].title, row[0].lines)]
        for row in zip(*shown, strict=True)
    ]


def render_clip(
    subject: Subject, view: Tensor, found: Sequence[Groups], fill: Fill = "mean", scale: int | None = None
) -> Image.Image:
    """The contact sheet of a clip."""
    return sheet(strips(clip_panels(subject, view, found, fill)), scale or strip_scale(view))


def strip_scale(view: Tensor) -> int:
    """By how much to enlarge the frames of a contact sheet."""
    return max(1, 160 // max(view.shape[-2:]))


def _side_by_side(pictures: Sequence[Painted]) -> Painted:
    """Pictures of one size in a row, with white between them."""
    height = pictures[0].fill.shape[0]
    first = pictures[0]
    fills, indices = [], []
    for picture in pictures:
        fills += [picture.fill, np.full((height, _SPACE, 3), 255, np.uint8)]
        if picture.groups is not None:
            indices += [picture.groups, np.full((height, _SPACE), -1)]
    groups = np.concatenate(indices[:-1], axis=1) if indices else None
    return Painted(np.concatenate(fills[:-1], axis=1), groups, first.lines, first.merged)
