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

    def image(self, scale: int = 1) -> Image.Image:
        """The picture, `scale` times as large. Outlines lie within groups: 1 pixel, merged and enlarged ones 2."""
        height, breadth = self.fill.shape[:2]
        if self.groups is None or self.lines is None or self.merged is None:
            return Image.fromarray(self.fill).resize((breadth * scale, height * scale), Image.Resampling.BICUBIC)
        canvas = self.fill.repeat(scale, axis=0).repeat(scale, axis=1)
        groups = self.groups.repeat(scale, axis=0).repeat(scale, axis=1)
        edge = border(groups, 1)
        if scale > 1:
            edge |= border(groups, 2) & self.merged[groups]
        canvas[edge] = self.lines[groups[edge]]
        return Image.fromarray(canvas)


def paint(pixels: np.ndarray, groups: Groups, fill: Fill = "mean") -> list[Painted]:
    """The groups of one view, frame by frame.

    Args:
        pixels: The input as colours, uint8 `[height, width, 3]` or `[frames, height, width, 3]`; of a sound, its
            spectrogram in the colours of a colour map, `[frames, mel bins, 3]`.
        groups: Of that view.
        fill: What a group is filled with.

    Returns:
        One picture, or one a frame.
    """
    filled = fill_mean(pixels, groups.pixels) if fill == "mean" else fill_size(groups)
    lines, merged = line_colours(groups), groups.sizes > 1
    if pixels.ndim == 3:
        return [Painted(filled, groups.pixels, lines, merged)]
    return [Painted(frame, index, lines, merged) for frame, index in zip(filled, groups.pixels, strict=True)]


def fill_mean(pixels: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Each pixel as the mean of its group, uint8 of the shape of `pixels`; pixels of no group are half as bright.

    Args:
        pixels: uint8 `[..., 3]`.
        index: Group of each, int64 `[...]`, -1 for none.
    """
    member = index >= 0
    count = np.bincount(index[member]).clip(1)
    means = [np.bincount(index[member], weights=pixels[..., channel][member]) / count for channel in range(3)]
    filled = (pixels // 2).astype(np.uint8)
    filled[member] = np.rint(np.stack(means, axis=-1)).astype(np.uint8)[index[member]]
    return filled


def fill_size(groups: Groups) -> np.ndarray:
    """Each pixel by how many tokens its group holds, on a scale of doublings up to the whole input; uint8 `[..., 3]`.

    A group's size is what attention weighs it by.
    """
    colours = np.concatenate([heat(groups.sizes, int(groups.tokens.size)), np.zeros((1, 3), np.uint8)])
    return colours[groups.pixels]


def heat(sizes: np.ndarray, largest: int) -> np.ndarray:
    """Colours of sizes from 1 (dark) to `largest` (bright) on a logarithmic scale, uint8 `[sizes, 3]`."""
    from matplotlib import colormaps

    level = np.log2(np.maximum(sizes, 1)) / max(np.log2(largest), 1.0)
    return np.rint(colormaps["inferno"](level)[:, :3] * 255).astype(np.uint8)


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
