"""One's own recordings, wherever they are: a path, an open file, a Pillow image, an array or a tensor."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tome_zoo import modalities
from tome_zoo.errors import MediaError
from tome_zoo.modalities._checks import input_of
from tome_zoo.modalities._resample import Resampler
from tome_zoo.modalities.inputs import AudioInput, Modality, Spec


class FramesInMemory:
    """A video whose frames are at hand; what `video.views` asks of one.

    Attributes:
        num_frames: Frames in it.
        fps: Frames a second.
    """

    def __init__(self, frames: np.ndarray, fps: float) -> None:
        """Take frames, `[frames, height, width, 3]`, uint8."""
        self._frames, self.num_frames, self.fps = frames, len(frames), fps

    def stream(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames of these numbers, `[height, width, 3]`."""
        for index in indices:
            yield self._frames[index]


@contextlib.contextmanager
def open_source(source: Any, modality: Modality, spec: Spec, rate: float | None = None) -> Iterator[Any]:
    """What `views` of a modality takes, of whatever a person has.

    Args:
        source: A path or an open binary file. An image: a Pillow image; an array `[height, width, 3]` or
            `[height, width]`, or a tensor `[3, height, width]`, of uint8 or of floats from 0 to 1. A video: an array
            `[frames, height, width, 3]` or a tensor `[frames, 3, height, width]`, uint8 or floats from 0 to 1. A sound:
            an array or tensor `[samples]` or `[channels, samples]`, floats whose full scale is 1, or whole numbers.
        modality: What it is.
        spec: The model.
        rate: Frames a second of a video, or Hz of a sound, that is an array or a tensor.

    Yields:
        An image, upright as the EXIF orientation of a camera says; a video reader; a waveform at the model's rate.

    Raises:
        MediaError: If it cannot be read, has another shape or range, or its rate is not given.
    """
    if isinstance(source, str | os.PathLike):
        yield _read(Path(source), modality, spec)
    elif hasattr(source, "read"):
        with tempfile.NamedTemporaryFile(prefix="tome-zoo-") as copy:
            _copy(source, copy)
            yield _read(Path(copy.name), modality, spec)
    elif modality == "image":
        yield _image(source)
    elif rate is None or not rate > 0:
        unit = "frames a second" if modality == "video" else "samples a second (Hz)"
        raise MediaError(f"an array of {modality} needs its rate: pass rate=, {unit}; got {rate!r}")
    elif modality == "video":
        yield FramesInMemory(_frames(source), float(rate))
    else:
        yield _waveform(source, rate, input_of(spec, AudioInput))


def _read(path: Path, modality: Modality, spec: Spec) -> Any:
    if modality == "image":
        from tome_zoo.modalities import image

        return image.read(path, spec, upright=True)
    return modalities.get(modality).read(path, spec)


def _copy(source: Any, target: Any) -> None:
    if not hasattr(source, "mode") or "b" in str(source.mode):
        try:
            shutil.copyfileobj(source, target)
        except TypeError:  # a text stream that does not say so
            pass
        else:
            target.flush()
            return
    raise MediaError("expected a file that is open for reading bytes: open(path, 'rb')")


def _image(source: Any) -> Image.Image:
    from tome_zoo.modalities import image

    if isinstance(source, Image.Image):
        return image.to_rgb(image.turned_upright(source))
    pixels = _numbers(source, "image")
    if isinstance(source, Tensor) and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise MediaError(
            f"expected an image of shape [height, width, 3] (a tensor: [3, height, width]), got {list(source.shape)}"
        )
    return Image.fromarray(_bytes(pixels)).convert("RGB")


def _frames(source: Any) -> np.ndarray:
    if isinstance(source, list | tuple) and source and all(isinstance(item, Image.Image) for item in source):
        source = np.stack([np.asarray(item.convert("RGB")) for item in source])
    frames = _numbers(source, "video")
    if isinstance(source, Tensor) and frames.ndim == 4:
        frames = np.moveaxis(frames, 1, -1)
    if frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise MediaError(
            "expected frames of shape [frames, height, width, 3] (a tensor: [frames, 3, height, width]), "
            f"got {list(source.shape)}"
        )
    return np.ascontiguousarray(_bytes(frames))


def _waveform(source: Any, rate: float, settings: AudioInput) -> Tensor:
    samples = _numbers(source, "sound")
    if samples.ndim not in (1, 2) or not samples.size or (samples.ndim == 2 and len(samples) > samples.shape[1]):
        raise MediaError(f"expected a sound of shape [samples] or [channels, samples], got {list(source.shape)}")
    if rate != int(rate):
        raise MediaError(f"expected a whole number of samples a second, got {rate!r}")
    if np.issubdtype(samples.dtype, np.integer):
        if samples.dtype == np.uint8:
            samples = samples.astype(np.float32) - 128
            scale = 128.0
        else:
            scale = -float(np.iinfo(samples.dtype).min)
        samples = samples.astype(np.float32) / np.float32(scale)
    samples = np.atleast_2d(samples).astype(np.float32)
    if not np.isfinite(samples).all():
        raise MediaError("the sound has samples that are not finite numbers")
    one = samples[0] if settings.channel == "first" else samples.mean(axis=0, dtype=np.float32)
    resampler = Resampler(int(rate), settings.sample_rate)
    return torch.cat([*resampler.add(np.ascontiguousarray(one)), *resampler.finish()])


def _numbers(source: Any, kind: str) -> np.ndarray:
    """An array of real numbers."""
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        source = (source.float() if source.dtype == torch.bfloat16 else source).numpy()
    if not isinstance(source, np.ndarray):
        what = f"{type(source).__module__}.{type(source).__qualname__}"
        raise MediaError(f"expected a path, an open file, an array or a tensor as {kind}, got {what}")
    if not (np.issubdtype(source.dtype, np.integer) or np.issubdtype(source.dtype, np.floating)):
        raise MediaError(f"expected real numbers, got an array of {source.dtype}")
    return source


def _bytes(pixels: np.ndarray) -> np.ndarray:
    """uint8 pixels, of uint8 or of floats from 0 to 1."""
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise MediaError(f"expected pixels of uint8 (0 to 255) or floats (0 to 1), got {pixels.dtype}")
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise MediaError(
            f"expected pixels from 0 to 1, got {pixels.min():g} to {pixels.max():g}: give the picture as it is, before "
            "it is normalised, or uint8"
        )
    return np.rint(pixels * 255).astype(np.uint8)
