"""Videos: clips spread over the file, crops along the long side, as the tests of spatiotemporal MAE and VideoMAE do."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tome_zoo.errors import CardError, MediaError
from tome_zoo.modalities._checks import input_of
from tome_zoo.modalities._video_crops import Cropper
from tome_zoo.modalities._video_frames import Video
from tome_zoo.modalities._video_frames import video_decoder as video_decoder
from tome_zoo.modalities.inputs import Span, Spec, VideoInput, ViewProtocol
from tome_zoo.transformer.architecture import Architecture


class Stretch:
    """Successive frames of a video, as a video.

    Attributes:
        num_frames: Frames in it.
        fps: Mean frames a second of the whole video.
    """

    def __init__(self, whole: Any, start: int, num_frames: int) -> None:
        """From frame `start` of `whole`."""
        self._whole, self._start, self.num_frames, self.fps = whole, start, num_frames, whole.fps

    def stream(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames of these numbers, counted from its beginning; they must ascend."""
        yield from self._whole.stream([self._start + index for index in indices])

    def frames(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, [frames, height, width, 3], uint8."""
        return cast(Tensor, self._whole.frames([self._start + index for index in indices]))


def read(path: str | Path, spec: Spec | None = None, *, span: Span | None = None) -> Video | Stretch:
    """Open a video: its frames are counted now and decoded when asked for, by decord or by PyAV.

    Args:
        path: The file.
        spec: Not needed.
        span: The stretch of it that is wanted: the frames that are shown from its start to before its end.

    Raises:
        MediaError: If it is missing, no video, or truncated, or ends before the stretch begins.
    """
    whole = Video(path)
    if span is None:
        return whole
    first, end = whole.frame_at(span.start), whole.frame_at(span.end)
    if first >= whole.num_frames:
        raise MediaError(f"{path}: the video ends before {span.start:g} s, where the stretch begins")
    return Stretch(whole, first, max(1, end - first))


def load(path: str | Path, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """The views of a video file.

    Raises:
        MediaError: As `read` and `views`.
        CardError: As `views`.
    """
    return views(read(path, spec), spec, protocol)


def views(media: Video | Stretch, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """Clips x crops of a video, the crops of a clip next to each other. Each frame is decoded and scaled once.

    Args:
        media: What `read` gives, or anything with its `num_frames`, `fps` and `stream`.
        spec: The model, with the frames of a clip and how far they are apart.
        protocol: How many clips (temporal) and crops (spatial: 1 or 3), and which frames a clip has (sampling).

    Returns:
        [temporal * spatial, 3, frames, height, width], float32. A video shorter than a clip repeats its last frame.

    Raises:
        MediaError: If a frame cannot be decoded, or is too long and narrow.
        CardError: If the protocol asks for other than 1 or 3 crops, or the model is no model of RGB clips.
    """
    settings = input_of(spec, VideoInput)
    n_frames, size = spec.architecture.num_frames, spec.architecture.size
    if n_frames is None or spec.architecture.in_chans != 3:
        raise CardError(
            f"expected a model of RGB clips, got num_frames = {n_frames}, in_chans = {spec.architecture.in_chans}"
        )
    numbers = clips(media.num_frames, media.fps, n_frames, settings, protocol)
    places: dict[int, list[tuple[int, int]]] = {}  # frame number -> where it goes: (clip, position in it)
    for clip, frames in enumerate(numbers):
        for position, number in enumerate(frames):
            places.setdefault(number, []).append((clip, position))
    wanted = sorted(places)
    crop = Cropper(size, protocol.spatial_views, settings, protocol.sampling)
    # NumPy asks Linux for huge pages: 10 x 3 views are 300 MB, and touching them first costs a third of the time.
    out = torch.from_numpy(np.empty((len(numbers), protocol.spatial_views, 3, n_frames, *size), dtype=np.float32))
    for number, picture in zip(wanted, media.stream(wanted), strict=True):
        for which, pixels in enumerate(crop(picture)):
            for clip, position in places[number]:
                out[clip, which, :, position] = pixels
    return out.flatten(0, 1)


def clips(
    total: int, fps: float | None, n_frames: int, settings: VideoInput, protocol: ViewProtocol
) -> list[list[int]]:
    """Numbers of the frames of each clip of a video of `total` frames, `fps` a second.

    Protocols of sampling "clip" follow the test of spatiotemporal MAE, those of sampling "strided" that of VideoMAE.
    """
    if protocol.sampling == "strided":
        return strided_clips(total, settings.sampling_rate, n_frames, protocol.temporal_views)
    length = clip_length(n_frames, settings.sampling_rate, settings.target_fps, fps)
    starts = clip_starts(total, length, protocol.temporal_views)
    return [frame_indices(start, length, n_frames, total) for start in starts]


def clip_length(n_frames: int, sampling_rate: int, target_fps: float, fps: float | None) -> float:
    """Native frames that a clip covers; without a known rate, the file is taken to have the target's."""
    return sampling_rate * n_frames / target_fps * (fps or target_fps)


def clip_starts(total: int, length: float, n_clips: int) -> list[int]:
    """First frames of `n_clips` clips of `length` native frames, evenly spread over `total`; one: the middle."""
    spare = max(total - length, 0.0)
    if n_clips == 1:
        return [math.floor(spare / 2)]
    return [clip * math.floor(spare / (n_clips - 1)) for clip in range(n_clips)]


def frame_indices(start: int, length: float, n_frames: int, total: int) -> list[int]:
    """Numbers of a clip's frames, evenly spaced over it, kept within the file."""
    positions = torch.linspace(start, start + length - 1, n_frames, dtype=torch.float32)
    return positions.clamp(0, total - 1).long().tolist()


def strided_clips(total: int, stride: int, n_frames: int, n_clips: int) -> list[list[int]]:
    """Of every `stride`-th frame of the file, `n_clips` runs of successive ones, evenly spread; one: the middle."""
    strided = list(range(0, total, stride))
    strided += strided[-1:] * (n_frames - len(strided))
    spare = len(strided) - n_frames
    starts = [int(clip * (spare / (n_clips - 1))) for clip in range(n_clips)] if n_clips > 1 else [spare // 2]
    return [strided[start : start + n_frames] for start in starts]


def token_grid(spec: Spec) -> tuple[int, int, int]:
    """Tubelets along (time, height, width)."""
    return spec.architecture.grid


def embed_layer(architecture: Architecture) -> Callable[..., torch.nn.Module]:
    """The tubelet embedding for timm's `embed_layer=`.

    Raises:
        CardError: If the architecture has no frames, or patches that overlap.
    """
    from tome_zoo.transformer.embed import TubeletEmbed

    if architecture.num_frames is None or architecture.tubelet_size is None:
        raise CardError("a video model needs num_frames and tubelet_size")
    if architecture.patch_stride is not None:
        raise CardError("tubelets do not overlap: remove patch_stride")
    return partial(TubeletEmbed, num_frames=architecture.num_frames, tubelet_size=architecture.tubelet_size)
