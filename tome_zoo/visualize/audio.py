"""Groups of a sound over its log-mel spectrogram, with seconds and Hz on the axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tome_zoo.modalities.audio import WINDOW
from tome_zoo.visualize.image import caption, titles
from tome_zoo.visualize.paint import Fill, Painted, fill_size, group_means, heat, outlined
from tome_zoo.visualize.sheet import INK
from tome_zoo.visualize.subject import DrawnView, Subject, log_mel
from tome_zoo.visualize.token_groups import Groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOWEST = 20.0  # Hz, where Kaldi's mel filters begin; they end at half the sample rate
_DPI = 100
_LEFT, _RIGHT, _ABOVE, _BELOW = 64, 20, 34, 30  # pixels around each spectrogram
_BAR = 70  # pixels below them for the legend of a heat map
_TICKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def spectrogram_panels(
    subject: Subject, sample: DrawnView, found: Sequence[Groups], fill: Fill = "mean"
) -> list[tuple[Painted, str, str]]:
    """The spectrogram, then each of the groups: (picture, title, caption); time runs to the right.

    Args:
        subject: The model.
        sample: The sound.
        found: Groups of its view, at several schedules or behind several blocks.
        fill: What a group is filled with: the colour of its mean level, or a heat map of its size.
    """
    levels = log_mel(subject, sample.view)
    heard = levels[: heard_frames(subject, sample)]
    panels = [(Painted(_level_colours(levels, heard)).turned(), sample.name, sample.coverage or "log-mel spectrogram")]
    for title, groups in zip(titles(found), found, strict=True):
        if fill == "size":
            filled = fill_size(groups)
        else:
            means = group_means(levels[..., None], groups.pixels)[..., 0]
            filled = _level_colours(np.where(groups.pixels < 0, -np.inf, means), heard)
        painted = outlined(filled, groups.pixels, groups, fill).turned()
        panels.append((painted, title, "  ·  ".join(caption(groups))))
    return panels


def render_sound(subject: Subject, sample: DrawnView, found: Sequence[Groups], fill: Fill = "mean") -> Image.Image:
    """The panels of `spectrogram_panels` below each other, as pixels."""
    figure = sound_figure([(subject, sample, found)], fill)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # type: ignore[attr-defined]


def sound_figure(sounds: Sequence[tuple[Subject, DrawnView, Sequence[Groups]]], fill: Fill = "mean") -> "Figure":
    """A matplotlib figure of one or several sounds; each pixel of a picture is one of the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [
        (subject, sample, picture.image(down, across), words)
        for subject, sample, found in sounds
        for down, across in [_scales(*sample.view.shape[1:])]
        for picture, *words in spectrogram_panels(subject, sample, found, fill)
    ]
    width = _LEFT + max(picture.width for _, _, picture, _ in rows) + _RIGHT
    bar = _BAR if fill == "size" else 0
    height = sum(_ABOVE + picture.height + _BELOW for _, _, picture, _ in rows) + 16 + bar
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = height
    for subject, sample, picture, (head, foot) in rows:
        top -= _ABOVE + picture.height
        box = _LEFT / width, top / height, picture.width / width, picture.height / height
        axes = figure.add_axes(box)
        axes.imshow(np.asarray(picture), extent=(0, picture.width, 0, picture.height), interpolation="nearest")
        _label(axes, subject, sample, picture.size)
        ink = tuple(value / 255 for value in INK)
        axes.set_title(head, loc="left", fontsize=11, fontweight="bold", color=ink)
        axes.set_title(foot, loc="right", fontsize=10, color=ink)
        top -= _BELOW
    axes.set_xlabel("seconds", fontsize=9, labelpad=1)
    if bar:
        _legend(figure.add_axes((_LEFT / width, 30 / height, 320 / width, 14 / height)), sounds[0][2][0])
    return figure


def heard_frames(subject: Subject, sample: DrawnView) -> int:
    """Frames of the view that hold sound; the rest is padding."""
    settings: Any = subject.spec.input
    shift = int(settings.sample_rate * settings.frame_shift / 1000)
    frames = sample.view.shape[1]
    if sample.waveform is None:
        return frames
    window = int(settings.sample_rate * WINDOW / 1000)
    return max(1, min(frames, (len(sample.waveform) - window) // shift + 1))


def mel(frequency: float | np.ndarray) -> Any:
    """Hz to mel, as Kaldi and HTK have it."""
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def bin_position(frequency: float, sample_rate: int, n_bins: int) -> float:
    """Where a frequency stands among mel bins, whose centres lie at 0.5, 1.5, ... n_bins - 0.5."""
    lowest, highest = mel(LOWEST), mel(sample_rate / 2)
    return float((mel(frequency) - lowest) / (highest - lowest) * (n_bins + 1) - 0.5)


def _label(axes: "Axes", subject: Subject, sample: DrawnView, size: tuple[int, int]) -> None:
    """Ticks in seconds and Hz, and where the sound ends and padding begins."""
    settings: Any = subject.spec.input
    frames, n_bins = sample.view.shape[1:]
    per_second = size[0] / frames * 1000 / settings.frame_shift  # pixels
    seconds = frames * settings.frame_shift / 1000
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 30, 60) if seconds / step <= 12 or step == 60)
    times = np.arange(0, seconds + 1e-9, step)
    axes.set_xticks(times * per_second, [f"{time:g}" for time in times], fontsize=8)
    places = {hertz: bin_position(hertz, settings.sample_rate, n_bins) * size[1] / n_bins for hertz in _TICKS}
    shown = {hertz: place for hertz, place in places.items() if 0 <= place <= size[1]}
    axes.set_yticks(list(shown.values()), [f"{hertz:,}" for hertz in shown], fontsize=8)
    axes.set_ylabel("Hz (mel)", fontsize=9)
    end = heard_frames(subject, sample)
    if end < frames:
        axes.axvline(end / frames * size[0], color="white", linewidth=1.5, linestyle=(0, (4, 3)))
        box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
        axes.text(end / frames * size[0] + 7, 7, "padding", color="white", fontsize=8, bbox=box)


def _legend(axes: "Axes", groups: Groups) -> None:
    """A bar of the colours of sizes, with whole numbers of tokens under it."""
    largest = int(groups.tokens.size)
    axes.imshow(heat(np.geomspace(1, largest, 320), largest)[None], extent=(0, np.log2(largest), 0, 1), aspect="auto")
    powers = range(int(np.log2(largest)) + 1)
    axes.set_xticks(powers, [str(2**power) for power in powers], fontsize=8)
    axes.set_yticks([])
    axes.set_title("Tokens in a group", loc="left", fontsize=9, fontweight="bold")


def _level_colours(levels: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Levels as colours from the quietest to the loudest heard, uint8 `[frames, mel bins, 3]`."""
    from matplotlib import colormaps

    low, high = np.percentile(heard, 2), heard.max()
    shade = ((levels - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.rint(colormaps["magma"](shade)[..., :3] * 255).astype(np.uint8)


def _scales(frames: int, n_bins: int) -> tuple[int, int]:
    """(down, across): about 1000 pixels wide and 256 high."""
    return max(1, round(256 / n_bins)), max(1, round(1000 / frames))
