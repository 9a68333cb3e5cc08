"""Groups as pixels: each filled with its mean colour or its size, and outlined where it ends."""

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from tome_zoo.visualize.token_groups import Groups

Fill = Literal["mean", "size"]
"""What a group is filled with: the mean colour of its pixels, or a heat map of how many tokens it holds."""

SINGLE = (40, 40, 40)  # outline of a token that has merged with none
_GOLDEN = 0.6180339887498949  # of a turn: neighbouring numbers get colours far apart


@dataclass(frozen=True, eq=False)
class Painted:
    """One picture of groups, at the size of the input.

    Attributes:
        fill: uint8 `[height, width, 3]`.
        groups: Group of each pixel, int64 `[height, width]`; -1 for pixels of none. None: a picture without groups.
        lines: Colour of each group's outline, uint8 `[groups, 3]`.
        merged: Whether a group holds more than one token, bool `[groups]`; those that do have the stronger outline.
    """

    fill: np.ndarray
    groups: np.ndarray | None = None
    lines: np.ndarray | None = None
    merged: np.ndarray | None = None

    def image(self, down: int = 1, across: int | None = None) -> Image.Image:
        """The picture, enlarged by whole numbers (`across` is `down` where it is None); outlines lie within groups."""
        across = down if across is None else across
        height, width = self.fill.shape[:2]
        if self.groups is None or self.lines is None or self.merged is None:
            return Image.fromarray(self.fill).resize((width * across, height * down), Image.Resampling.BICUBIC)
        canvas = self.fill.repeat(down, axis=0).repeat(across, axis=1)
        groups = self.groups.repeat(down, axis=0).repeat(across, axis=1)
        narrow, wide = (outline_width(down, merged) for merged in (False, True))
        edge = border(groups, narrow)
        if wide > narrow:
            edge |= border(groups, wide) & self.merged[groups]
        canvas[edge] = self.lines[groups[edge]]
        return Image.fromarray(canvas)

    def turned(self) -> "Painted":
        """A spectrogram `[frames, mel bins]` as people look at it: time to the right, high tones above."""
        groups = None if self.groups is None else np.rot90(self.groups)
        return Painted(np.ascontiguousarray(np.rot90(self.fill)), groups, self.lines, self.merged)


def outline_width(scale: int, merged: bool) -> int:
    """Pixels of an outline: 1; where pictures are enlarged, 2 around merged tokens."""
    return 2 if merged and scale > 1 else 1


def paint(pixels: np.ndarray, groups: Groups, fill: Fill = "mean") -> list[Painted]:
    """The groups of one view, frame by frame.

    Args:
        pixels: The input as colours, uint8 `[height, width, 3]` or `[frames, height, width, 3]`.
        groups: Of that view.
        fill: What a group is filled with.

    Returns:
        One picture, or one a frame.
    """
    if fill == "size":
        filled = fill_size(groups)
    else:
        unread = (groups.pixels < 0)[..., None]
        filled = np.where(unread, pixels // 2, np.rint(group_means(pixels, groups.pixels))).astype(np.uint8)
    if pixels.ndim == 3:
        return [outlined(filled, groups.pixels, groups, fill)]
    return [outlined(frame, index, groups, fill) for frame, index in zip(filled, groups.pixels, strict=True)]


def outlined(filled: np.ndarray, index: np.ndarray, groups: Groups, fill: Fill) -> Painted:
    """A filled picture with the outlines of its groups; over a heat map they are all grey."""
    lines = line_colours(groups) if fill == "mean" else np.full((len(groups.sizes), 3), SINGLE, np.uint8)
    return Painted(filled, index, lines, groups.sizes > 1)


def group_means(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Each value as the mean of its group, float64 of the shape of `values`; values of no group stay.

    Args:
        values: `[..., channels]`.
        index: Group of each, int64 `[...]`, -1 for none.
    """
    member = index >= 0
    count = np.bincount(index[member]).clip(1)
    means = [np.bincount(index[member], weights=channel[member]) / count for channel in np.moveaxis(values, -1, 0)]
    filled = values.astype(np.float64)
    filled[member] = np.stack(means, axis=-1)[index[member]]
    return filled


def fill_size(groups: Groups) -> np.ndarray:
    """Each pixel by how many tokens its group holds, on a scale of doublings up to the whole input; uint8 `[..., 3]`.

    A group's size is what attention weighs it by.
    """
    colours = np.concatenate([heat(groups.sizes, int(groups.tokens.size)), np.zeros((1, 3), np.uint8)])
    return colours[groups.pixels]


def heat(sizes: np.ndarray, largest: int) -> np.ndarray:
    """Colours of sizes from 1 (violet) to `largest` (yellow) on a logarithmic scale, uint8 `[sizes, 3]`."""
    from matplotlib import colormaps

    level = np.log2(np.maximum(sizes, 1)) / max(np.log2(largest), 1.0)
    return np.rint(colormaps["viridis"](level)[:, :3] * 255).astype(np.uint8)


def legend(largest: int) -> Painted:
    """A bar of the colours of `heat` from 1 to `largest`."""
    sizes = np.geomspace(1, largest, 320)
    return Painted(np.broadcast_to(heat(sizes, largest), (14, 320, 3)).copy())


def line_colours(groups: Groups) -> np.ndarray:
    """The outline of each group, uint8 `[groups, 3]`: a colour of its own, or grey for a single token.

    The colour hangs on the group's first token, so a group keeps it from frame to frame, and most groups keep it from
    block to block and from r to r.
    """
    lines = [
        SINGLE if size == 1 else _colour(int(first)) for first, size in zip(groups.first, groups.sizes, strict=True)
    ]
    return np.array(lines, dtype=np.uint8)


def border(groups: np.ndarray, width: int) -> np.ndarray:
    """Which pixels lie at most `width` pixels (also diagonally) from a pixel of another group, bool `[height, width]`.

    Pixels of no group have no border and make none.
    """
    edge = np.zeros(groups.shape, dtype=bool)
    for down in range(width + 1):
        for right in range(-width, width + 1):
            here, there = _shifted(groups, down, right)
            differ = (groups[here] != groups[there]) & (groups[here] >= 0) & (groups[there] >= 0)
            edge[here] |= differ
            edge[there] |= differ
    return edge


def _shifted(array: np.ndarray, down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Two windows of the array, the second that many pixels further down and right (left, if negative)."""
    height, width = array.shape
    here = slice(0, height - down), slice(max(-right, 0), width - max(right, 0))
    there = slice(down, height), slice(max(right, 0), width - max(-right, 0))
    return here, there


def _colour(number: int) -> tuple[int, int, int]:
    """A bright colour for a whole number; hues of neighbouring numbers lie far apart."""
    hue, turn = (number * _GOLDEN) % 1, number % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, 1.0 - 0.25 * turn, 1.0 - 0.12 * ((turn + 1) % 3))
    return round(255 * red), round(255 * green), round(255 * blue)
