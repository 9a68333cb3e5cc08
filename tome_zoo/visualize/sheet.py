"""Panels side by side with words over and under them, as one picture: of pixels, or SVG."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tome_zoo.visualize.paint import Painted, outline_width

MARGIN, GAP = 16, 14
ABOVE, BELOW, LINE = 26, 6, 22  # room for the title, between picture and lines, for a line
TITLE_SIZE, LINE_SIZE = 17, 15
INK, PAPER = (25, 25, 25), (255, 255, 255)


@dataclass(frozen=True)
class Panel:
    """A picture, its title above and its lines below."""

    picture: Painted
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a panel stands, in pixels, and how much its picture is enlarged."""

    panel: Panel
    left: int
    top: int
    scale: int

    @property
    def width(self) -> int:
        return self.panel.picture.fill.shape[1] * self.scale

    @property
    def height(self) -> int:
        return self.panel.picture.fill.shape[0] * self.scale


def scale_for(height: int, width: int, wanted: int = 320) -> int:
    """By how much to enlarge a picture, so that its longer side has at least the wanted pixels."""
    return max(1, math.ceil(wanted / max(height, width)))


def sheet(rows: Sequence[Sequence[Panel]], scale: int | None = None) -> Image.Image:
    """All panels as one picture, a row below the other.

    Args:
        rows: Panels from left to right.
        scale: How much to enlarge pictures; None chooses by their size.
    """
    width, height, places = _arranged(rows, scale)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for place in places:
        canvas.paste(place.panel.picture.image(place.scale), (place.left, place.top))
        for text, baseline, face in _words(place):
            draw.text((place.left, baseline), text, INK, face, anchor="ls")
    return canvas


def sheet_svg(rows: Sequence[Sequence[Panel]], scale: int | None = None) -> str:
    """What `sheet` draws as SVG: fills as small embedded PNG, outlines as paths, words as text."""
    width, height, places = _arranged(rows, scale)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="rgb{PAPER}"/>',
    ]
    for place in places:
        parts += _picture_svg(place)
        for text, baseline, face in _words(place):
            weight = ' font-weight="bold"' if face.size == TITLE_SIZE else ""
            parts.append(
                f'<text x="{place.left}" y="{baseline}" font-size="{face.size:g}"{weight} fill="rgb{INK}">'
                f"{escape(text)}</text>"
            )
    return "\n".join([*parts, "</svg>\n"])


def data_uri(image: Image.Image) -> str:
    """The image as a PNG in a `data:` address."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


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


def _arranged(rows: Sequence[Sequence[Panel]], scale: int | None) -> tuple[int, int, list[_Place]]:
    """Width and height of the whole, and where each panel stands."""
    places, top, right = [], MARGIN, 0
    for row in rows:
        left, below = MARGIN, 0
        for panel in row:
            place = _Place(panel, left, top + ABOVE, scale or scale_for(*panel.picture.fill.shape[:2]))
            words = BELOW + LINE * len(panel.lines) if panel.lines else 0
            left, below = left + place.width + GAP, max(below, place.top + place.height + words)
            places.append(place)
        top, right = below + GAP, max(right, left - GAP)
    return right + MARGIN, top - GAP + MARGIN, places


def _words(place: _Place) -> list[tuple[str, int, ImageFont.FreeTypeFont]]:
    """(text, baseline, font) of the title and the lines, no wider than the picture."""
    title, line = font(TITLE_SIZE, bold=True), font(LINE_SIZE)
    words = [(fitted(place.panel.title, title, place.width), place.top - 9, title)]
    first = place.top + place.height + BELOW + LINE_SIZE
    return words + [
        (fitted(text, line, place.width), first + LINE * number, line) for number, text in enumerate(place.panel.lines)
    ]


def _picture_svg(place: _Place) -> list[str]:
    """A picture: pixels, and the outlines of each group, merged ones over single ones."""
    picture = place.panel.picture
    smooth = "auto" if picture.groups is None else "pixelated"
    box = f'x="{place.left}" y="{place.top}" width="{place.width}" height="{place.height}"'
    source = data_uri(Image.fromarray(picture.fill))
    parts = [f'<image {box} preserveAspectRatio="none" style="image-rendering:{smooth}" href="{source}"/>']
    if picture.groups is None or picture.lines is None or picture.merged is None:
        return parts
    paths: dict[int, list[str]] = {}
    for group, stretch in _borders(picture.groups, picture.merged, place):
        paths.setdefault(group, []).append(stretch)
    merged = picture.merged
    for group in sorted(paths, key=lambda group: bool(merged[group])):
        red, green, blue = picture.lines[group]
        parts.append(f'<path d="{"".join(paths[group])}" fill="rgb({red},{green},{blue})"/>')
    return parts


def _borders(groups: np.ndarray, merged: np.ndarray, place: _Place) -> list[tuple[int, str]]:
    """Stretches of outline as rectangles within their groups: (group, path)."""
    found = []
    for turned in (False, True):  # edges between rows, then between columns
        index = groups.T if turned else groups
        for row, side in [(row, side) for row in range(1, len(index)) for side in (0, 1)]:
            here, other = (index[row - 1], index[row]) if side == 0 else (index[row], index[row - 1])
            outlined = (here != other) & (here >= 0) & (other >= 0)
            for start, stop in _runs(np.where(outlined, here, -1)):
                group = int(here[start])
                width = outline_width(place.scale, bool(merged[group]))
                across = row * place.scale - (width if side == 0 else 0)
                along, length = start * place.scale, (stop - start) * place.scale
                box = (across, along, width, length) if turned else (along, across, length, width)
                x, y, w, h = box[0] + place.left, box[1] + place.top, box[2], box[3]
                found.append((group, f"M{x} {y}h{w}v{h}h-{w}z"))
    return found


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of equal values that are not negative."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(start, stop) for start, stop in pairwise(cuts) if values[start] >= 0]
