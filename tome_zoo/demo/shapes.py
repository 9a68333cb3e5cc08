"""The `shapes` data set: one shape among clutter, turned, scaled, coloured and partly hidden; PNG in class folders."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LABELS = ("arrow", "circle", "crescent", "cross", "heart", "pentagon", "ring", "square", "star", "triangle")
SIZE = 96  # pixels
_FINE = 2  # drawn at twice the size, then averaged: smooth edges
_CLUTTER = (2, 5)  # strokes
_CONTRAST = 200  # of the shape over the background, summed over the channels: shapes are the brighter ones
_RADIUS = (0.25, 0.40)  # of the side

Color = tuple[int, int, int]
Outline = list[tuple[float, float]]


def render(rng: np.random.Generator, label: int) -> np.ndarray:
    """Draw one image.

    Args:
        rng: Source of all randomness.
        label: Index into `LABELS`.

    Returns:
        RGB image, uint8 `[height, width, 3]`.
    """
    side = SIZE * _FINE
    image = _background(rng, side)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(*_CLUTTER)):
        _line(draw, rng, side)

    radius = side * rng.uniform(*_RADIUS)
    room = side / 2 - 0.9 * radius
    center = (side / 2 + rng.uniform(-room, room), side / 2 + rng.uniform(-room, room))
    angle = rng.uniform(0, 2 * math.pi)
    _paint(image, rng, _mask(LABELS[label], side, center, radius, angle))
    _hide(draw, rng, center, radius)

    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float32)
    noisy = pixels + rng.normal(0, rng.uniform(1, 8), pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def samples(*, count: int, seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield `count` pairs of image `[height, width, 3]` and label, classes in turn."""
    for index in range(count):
        label = index % len(LABELS)
        yield render(np.random.default_rng([seed, index]), label), label


def write(root: str | Path, *, split: str, count: int, seed: int) -> Iterator[Path]:
    """Write `count` images to `root/split/<class>/<number>.png`, yielding each path when it is on disk."""
    folder = Path(root) / split
    for name in LABELS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(samples(count=count, seed=seed)):
        path = folder / LABELS[label] / f"{index:05d}.png"
        Image.fromarray(image).save(path, compress_level=1)
        yield path


def _color(rng: np.random.Generator) -> Color:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    """Smooth blobs of colour: noise on a coarse grid, enlarged."""
    cells = int(rng.integers(2, 6))
    base, spread = rng.uniform(10, 120, 3), rng.uniform(5, 30)
    noise = np.clip(base + rng.normal(0, spread, (cells, cells, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def _line(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    """One piece of clutter: a stroke or a small bar of random colour."""
    start = rng.uniform(0, side, 2)
    end = start + rng.normal(0, 0.3 * side, 2)
    draw.line([*start.tolist(), *end.tolist()], fill=_color(rng), width=int(rng.integers(1, 5 * _FINE)))


def _paint(image: Image.Image, rng: np.random.Generator, mask: Image.Image) -> None:
    """Fill the mask with a colour brighter than what lies under it, and a slight gradient."""
    pixels = np.asarray(image, dtype=np.float32)
    inside = np.asarray(mask) > 0
    under = pixels[inside].mean(axis=0)
    color = np.array(_color(rng), dtype=np.float32)
    while (color - under).sum() < _CONTRAST:
        color = np.array(_color(rng), dtype=np.float32)
    slope = rng.normal(0, 25, 3) * np.linspace(-1, 1, image.width)[:, None]
    fill = np.broadcast_to((color + slope)[None], pixels.shape)
    image.paste(Image.fromarray(np.clip(fill, 0, 255).astype(np.uint8)), mask=mask)


def _hide(draw: ImageDraw.ImageDraw, rng: np.random.Generator, center: tuple[float, float], radius: float) -> None:
    """Lay at most one bar over part of the shape."""
    for _ in range(rng.integers(0, 2)):
        angle, reach = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.3, 0.9)
        x, y = center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle)
        turn = rng.uniform(0, math.pi)
        dx, dy = radius * math.cos(turn), radius * math.sin(turn)
        draw.line([x - dx, y - dy, x + dx, y + dy], fill=_color(rng), width=int(radius * rng.uniform(0.1, 0.3)))


def _mask(name: str, side: int, center: tuple[float, float], radius: float, angle: float) -> Image.Image:
    """The filled shape as a 1-channel image, 255 inside."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)

    def disk(x: float, y: float, r: float, fill: int) -> None:
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = center[0] + radius * (x * cos - y * sin), center[1] + radius * (x * sin + y * cos)
        draw.ellipse([x - r * radius, y - r * radius, x + r * radius, y + r * radius], fill=fill)

    if name == "circle":
        disk(0, 0, 0.9, 255)
    elif name == "ring":
        disk(0, 0, 1, 255)
        disk(0, 0, 0.55, 0)
    elif name == "crescent":
        disk(0, 0, 1, 255)
        disk(0.5, 0, 0.8, 0)
    else:
        cos, sin = math.cos(angle), math.sin(angle)
        points = [
            (center[0] + radius * (x * cos - y * sin), center[1] + radius * (x * sin + y * cos))
            for x, y in _outline(name)
        ]
        draw.polygon(points, fill=255)
    return mask


def _outline(name: str) -> Outline:
    """Corners of a shape of radius about 1 around the origin."""
    if name == "star":
        return _polygon(10, (1.1, 0.45))
    if name == "cross":
        arm, width = 1.0, 0.33
        quarter = [(width, width), (width, arm), (-width, arm)]
        return [_turn(point, k * math.pi / 2) for k in range(4) for point in quarter]
    if name == "arrow":
        return [(1.1, 0), (0.1, 0.85), (0.1, 0.3), (-1, 0.3), (-1, -0.3), (0.1, -0.3), (0.1, -0.85)]
    if name == "heart":
        steps = [2 * math.pi * k / 40 for k in range(40)]
        return [
            (
                math.sin(t) ** 3,
                (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16 + 0.1,
            )
            for t in steps
        ]
    corners = {"triangle": 3, "square": 4, "pentagon": 5}[name]
    return _polygon(corners, (1.1 if corners < 5 else 1.0,))


def _polygon(corners: int, radii: tuple[float, ...]) -> Outline:
    turns = [2 * math.pi * k / corners for k in range(corners)]
    return [(radii[k % len(radii)] * math.cos(t), radii[k % len(radii)] * math.sin(t)) for k, t in enumerate(turns)]


def _turn(point: tuple[float, float], angle: float) -> tuple[float, float]:
    cos, sin = math.cos(angle), math.sin(angle)
    return point[0] * cos - point[1] * sin, point[0] * sin + point[1] * cos
