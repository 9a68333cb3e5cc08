"""The `motions` data set: a textured picture that moves; classes differ in the motion alone; H.264 with a list."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

LABELS = (
    "move left",
    "move right",
    "move up",
    "move down",
    "zoom in",
    "zoom out",
    "rotate clockwise",
    "rotate counterclockwise",
    "stretch sideways",
    "squeeze sideways",
)
SIZE = 64  # pixels
FRAMES = 8
RATE = 10  # frames a second
_EXTENT = 160  # pixels of the picture the camera looks at
_SPEED = (0.4, 1.6)  # pixels a frame, at the edge of the picture for turning and growing
_JITTER = 0.35  # pixels by which the camera shakes
_DRIFT = 0.25  # pixels a frame, unrelated to the class
_NOISE = 14.0  # of 255
_X264 = {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0:rc-lookahead=0"}  # mbtree varies from run to run
_DISKS = 2  # that keep still while the picture moves


def render(rng: np.random.Generator, label: int) -> np.ndarray:
    """Draw one clip.

    Args:
        rng: Source of all randomness.
        label: Index into `LABELS`.

    Returns:
        RGB clip, uint8 `[frames, height, width, 3]`.
    """
    back, patch = _texture(rng), _texture(rng)
    speed = rng.uniform(*_SPEED)
    drift = rng.normal(0, _DRIFT, 2)
    gain, flicker = rng.normal(0, 0.02), 0.04
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    x, y = columns - (SIZE - 1) / 2, rows - (SIZE - 1) / 2
    hidden = np.zeros((SIZE, SIZE, 1), bool)
    for _ in range(_DISKS):
        cx, cy, radius = *rng.uniform(6, SIZE - 6, 2), rng.uniform(6, 13)
        hidden |= ((columns - cx) ** 2 + (rows - cy) ** 2 < radius**2)[..., None]

    clip = np.empty((FRAMES, SIZE, SIZE, 3), np.uint8)
    for frame in range(FRAMES):
        time = frame - (FRAMES - 1) / 2
        u, v = _warp(label, x, y, speed * time)
        shift = drift * time + rng.normal(0, _JITTER, 2)
        picture = _sample(back, u + shift[0], v + shift[1])
        picture = np.where(hidden, _sample(patch, x + shift[0], y + shift[1]), picture)
        light = 1 + gain * time + rng.normal(0, flicker)
        noisy = picture * light + rng.normal(0, _NOISE, picture.shape)
        clip[frame] = np.clip(noisy, 0, 255)
    return clip


def samples(*, count: int, seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield `count` pairs of clip `[frames, height, width, 3]` and label, classes in turn."""
    for index in range(count):
        label = index % len(LABELS)
        yield render(np.random.default_rng([seed, index]), label), label


def write(root: str | Path, *, split: str, count: int, seed: int) -> Iterator[Path]:
    """Write `count` clips to `root/<split>/<number>.mp4`, yielding each path when it is on disk; then `<split>.csv`.

    The list has one `path label` a line, the path relative to `root`.
    """
    root = Path(root)
    (root / split).mkdir(parents=True, exist_ok=True)
    lines = []
    for index, (clip, label) in enumerate(samples(count=count, seed=seed)):
        path = root / split / f"{index:05d}.mp4"
        encode(path, clip)
        lines.append(f"{path.relative_to(root).as_posix()} {label}\n")
        yield path
    (root / f"{split}.csv").write_text("".join(lines), encoding="utf-8")


def encode(path: str | Path, clip: np.ndarray, *, rate: int = RATE) -> None:
    """Write a clip, uint8 `[frames, height, width, 3]`, as H.264 in an MP4 file at `rate` frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options=_X264)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for pixels in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def _texture(rng: np.random.Generator) -> np.ndarray:
    """A random picture with detail at several scales, float32 `[extent, extent, 3]` in 0 to 255."""
    picture = np.zeros((_EXTENT, _EXTENT, 3), np.float32)
    for cells in (5, 12, 28, 56):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((_EXTENT, _EXTENT), Image.Resampling.BICUBIC)
        picture += rng.uniform(0.2, 1) * (np.asarray(layer, dtype=np.float32) - 127.5)
    picture *= rng.uniform(30, 60) / picture.std()
    return np.clip(picture + rng.uniform(90, 165, 3), 0, 255).astype(np.float32)


def _warp(label: int, x: np.ndarray, y: np.ndarray, way: float) -> tuple[np.ndarray, np.ndarray]:
    """Where in the picture each pixel looks once that has moved by `way` pixels; x and y from the centre."""
    name = LABELS[label]
    if name.startswith("move"):
        dx, dy = {"left": (1, 0), "right": (-1, 0), "up": (0, 1), "down": (0, -1)}[name.split()[1]]
        return x + dx * way, y + dy * way
    part = way / (SIZE / 2)  # of the half side
    if name in ("zoom in", "stretch sideways"):
        part = -part
    if name.startswith("zoom"):
        return x * math.exp(part), y * math.exp(part)
    if name.endswith("sideways"):
        return x * math.exp(part), y
    angle = -part if name == "rotate clockwise" else part
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear look-up at positions from the picture's centre, float32 `[height, width, 3]`."""
    middle = (_EXTENT - 1) / 2
    x, y = np.clip(x + middle, 0, _EXTENT - 2), np.clip(y + middle, 0, _EXTENT - 2)
    left, top = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    flat, at = picture.reshape(-1, 3), top * _EXTENT + left
    upper = flat[at] * (1 - fx) + flat[at + 1] * fx
    lower = flat[at + _EXTENT] * (1 - fx) + flat[at + _EXTENT + 1] * fx
    return upper * (1 - fy) + lower * fy
