"""Panels side by side with words over and under them, as one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from tome_zoo.visualize.paint import Painted

MARGIN, GAP = 16, 14
INK, PAPER = (25, 25, 25), (255, 255, 255)


@dataclass(frozen=True)
class Panel:
    """A picture, its title above and its lines below."""

    picture: Painted
    title: str
    lines: tuple[str, ...] = ()


def scale_for(height: int, width: int, wanted: int = 320) -> int:
    """By how much to enlarge a picture, so that its longer side has at least the wanted pixels."""
    return max(1, math.ceil(wanted / max(height, width)))


def sheet(rows: Sequence[Sequence[Panel]], scale: int | None = None) -> Image.Image:
    """All panels as one picture, a row below the other.

    Args:
        rows: Panels from left to right.
        scale: How much to enlarge pictures; None chooses by their size.
    """
    drawn = [[_panel(panel, scale) for panel in row] for row in rows]
    width = max(sum(image.width + GAP for image in row) - GAP for row in drawn) + 2 * MARGIN
    height = sum(max(image.height for image in row) + GAP for row in drawn) - GAP + 2 * MARGIN
    canvas = Image.new("RGB", (width, height), PAPER)
    top = MARGIN
    for row in drawn:
        left = MARGIN
        for image in row:
            canvas.paste(image, (left, top))
            left += image.width + GAP
        top += max(image.height for image in row) + GAP
    return canvas


def _panel(panel: Panel, scale: int | None) -> Image.Image:
    picture = panel.picture.image(scale or scale_for(*panel.picture.fill.shape[:2]))
    title, line = font(17, bold=True), font(15)
    above, below = 26, 22 * len(panel.lines) + (6 if panel.lines else 0)
    canvas = Image.new("RGB", (picture.width, above + picture.height + below), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((0, 0), fitted(panel.title, title, picture.width), INK, title)
    canvas.paste(picture, (0, above))
    for number, text in enumerate(panel.lines):
        place = 0, above + picture.height + 6 + 22 * number
        draw.text(place, fitted(text, line, picture.width), INK, line)
    return canvas


def fitted(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, shortened in its middle until it is no wider than that."""
    if face.getlength(text) <= width:
        return text
    for keep in range(len(text) - 1, 1, -1):
        short = text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]
        if face.getlength(short) <= width:
            return short
    return text[:1]


@lru_cache(maxsize=8)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    from matplotlib.font_manager import FontProperties, findfont

    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")), size)
