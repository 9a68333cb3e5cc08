"""Drawings as files: PNG, SVG, HTML, and videos as MP4 and GIF."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tome_zoo.errors import TomeZooError
from tome_zoo.system.files import atomic_write
from tome_zoo.visualize.movie import write_gif, write_mp4
from tome_zoo.visualize.page import page
from tome_zoo.visualize.pictures import Pictures
from tome_zoo.visualize.sheet import PAPER, sheet_svg

SUFFIXES = (".png", ".svg", ".mp4", ".gif", ".html")


def check_path(path: Path, modality: str) -> None:
    """Refuse a file that cannot be written for that modality, before anything is computed.

    Raises:
        TomeZooError: If its suffix is none of `SUFFIXES`, or asks what is no video to play.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TomeZooError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if suffix in (".mp4", ".gif") and modality != "video":
        raise TomeZooError(f"{path}: only videos play; write {modality} drawings to .png, .svg or .html")


def save(drawings: Sequence[Pictures], path: str | Path) -> Path:
    """Write drawings of one model below each other.

    Args:
        drawings: At least one.
        path: .png, .svg or .html; for videos also .mp4 and .gif, in which they play. Folders are made.

    Raises:
        TomeZooError: If the suffix is none of these.
    """
    path = Path(path)
    modality = drawings[0].subject.modality
    check_path(path, modality)
    suffix = path.suffix.lower()
    if suffix in (".svg", ".html"):
        text = page if suffix == ".html" else _sound_svg if modality == "audio" else _svg
        with atomic_write(path) as file:
            file.write(text(drawings))
        return path
    with atomic_write(path, "wb") as file:
        if suffix == ".png":
            stacked([drawing.image for drawing in drawings]).save(file, "PNG")
        else:
            frames = [stacked(row) for row in zip(*[drawing.frames for drawing in drawings], strict=True)]
            (write_mp4 if suffix == ".mp4" else write_gif)(frames, file, drawings[0].sample.rate or 10.0)
    return path


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Images below each other."""
    if len(images) == 1:
        return images[0]
    canvas = Image.new("RGB", (max(image.width for image in images), sum(image.height for image in images)), PAPER)
    top = 0
    for image in images:
        canvas.paste(image, (0, top))
        top += image.height
    return canvas


def _svg(drawings: Sequence[Pictures]) -> str:
    return sheet_svg([row for drawing in drawings for row in drawing.rows], drawings[0].scale)


def _sound_svg(drawings: Sequence[Pictures]) -> str:
    from matplotlib import rc_context

    from tome_zoo.visualize.audio import sound_figure

    sounds = [(drawing.subject, drawing.sample, drawing.groups) for drawing in drawings]
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tome-zoo"}):
        sound_figure(sounds, drawings[0].fill).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def check_listen(path: Path, modality: str, n_files: int) -> None:
    """Refuse what cannot be heard, before anything is computed.

    Raises:
        TomeZooError: If the model reads no sound, there are several files, or the path is no .wav.
    """
    if modality != "audio" or n_files != 1:
        what = f"{n_files} files" if modality == "audio" else f"a model of {modality}s"
        raise TomeZooError(f"one sound at a time can be listened to, got {what}")
    if path.suffix.lower() != ".wav":
        raise TomeZooError(f"{path}: expected a file that ends in .wav")


def save_sounds(drawing: Pictures, path: str | Path) -> list[Path]:
    """Write what is left of a sound, and the original beside it.

    Args:
        drawing: Of a sound.
        path: NAME.wav; the original becomes NAME-original.wav, and where several schedules or blocks were drawn, each
            its own NAME-r8.wav.

    Returns:
        The files, the original first.

    Raises:
        TomeZooError: If the drawing is of no sound, or the path is no .wav.
    """
    path = Path(path)
    check_listen(path, drawing.subject.modality, 1)
    from tome_zoo.visualize.listen import write_wav

    written = []
    for name, sound in drawing.sounds.items():
        alone = len(drawing.groups) == 1 and name != "original"
        written.append(path if alone else path.with_name(f"{path.stem}-{name}.wav"))
        with atomic_write(written[-1], "wb") as file:
            write_wav(sound, drawing.subject.spec.input.sample_rate, file)  # type: ignore[union-attr]
    return written
