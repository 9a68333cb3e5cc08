"""Videos: clips spread over the file, crops along the long side, by the test protocol of spatiotemporal MAE."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tome_zoo.architecture import Architecture
from tome_zoo.errors import CardError
from tome_zoo.modalities._checks import input_of, modest
from tome_zoo.modalities._frames import Video
from tome_zoo.modalities.inputs import Spec, VideoInput, ViewProtocol


def read(path: str | Path, spec: Spec | None = None) -> Video:
    """Open a video: its frames are counted now and decoded when asked for, by decord or, failing that, by PyAV.

    Raises:
        MediaError: If it is missing, no video, or truncated.
    """
    return Video(path)


def views(media: Video, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """Clips x crops of a video, the crops of a clip next to each other.

    Args:
        media: What `read` gives, or anything with its `num_frames`, `fps` and `stream`.
        spec: The model; frames are `sampling_rate` apart at `target_fps` frames a second.
        protocol: How many clips (temporal) and crops (spatial: 1 or 3).

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
    n_crops = protocol.spatial_views
    length = clip_length(n_frames, settings.sampling_rate, settings.target_fps, media.fps)
    clips = [
        frame_indices(start, length, n_frames, media.num_frames)
        for start in clip_starts(media.num_frames, length, protocol.temporal_views)
    ]
    places: dict[int, list[tuple[int, int]]] = {}  # frame number -> where it goes: (clip, position in it)
    for clip, numbers in enumerate(clips):
        for position, number in enumerate(numbers):
            places.setdefault(number, []).append((clip, position))
    wanted = sorted(places)
    out = torch.empty(len(clips), n_crops, 3, n_frames, *size)
    for number, picture in zip(wanted, media.stream(wanted), strict=True):
        crops = _crops(torch.from_numpy(picture), size, n_crops, settings)
        for clip, position in places[number]:
            out[clip, :, :, position] = crops
    return out.flatten(0, 1)


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


def scaled_size(height: int, width: int, target: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in which a crop of `target` just fits; the side that is longer than needed is rounded down."""
    if height * target[1] <= width * target[0]:
        fitted = target[0], width if height == target[0] else math.floor(width / height * target[0])
    else:
        fitted = height if width == target[1] else math.floor(height / width * target[1]), target[1]
    return max(fitted[0], target[0]), max(fitted[1], target[1])


def crop_offsets(height: int, width: int, size: tuple[int, int], n_crops: int) -> list[tuple[int, int]]:
    """(top, left) of one centre crop, or of three: both ends of the long side and the centre.

    Raises:
        CardError: If `n_crops` is neither 1 nor 3.
    """
    top, left = math.ceil((height - size[0]) / 2), math.ceil((width - size[1]) / 2)
    if n_crops == 1:
        return [(top, left)]
    if n_crops != 3:
        raise CardError(f"spatial_views must be 1 or 3 for videos, got {n_crops}: choose another protocol")
    if height > width:
        return [(0, left), (top, left), (height - size[0], left)]
    return [(top, 0), (top, left), (top, width - size[1])]


def token_grid(spec: Spec) -> tuple[int, int, int]:
    """Tubelets along (time, height, width)."""
    return spec.architecture.grid


def embed_layer(architecture: Architecture) -> Callable[..., torch.nn.Module]:
    """The tubelet embedding for timm's `embed_layer=`.

    Raises:
        CardError: If the architecture has no frames, or patches that overlap.
    """
    from tome_zoo.modalities.embed import TubeletEmbed

    if architecture.num_frames is None or architecture.tubelet_size is None:
        raise CardError("a video model needs num_frames and tubelet_size")
    if architecture.patch_stride is not None:
        raise CardError("tubelets do not overlap: remove patch_stride")
    return partial(TubeletEmbed, num_frames=architecture.num_frames, tubelet_size=architecture.tubelet_size)


def _crops(picture: Tensor, size: tuple[int, int], n_crops: int, settings: VideoInput) -> Tensor:
    """[height, width, 3], uint8 -> [crops, 3, *size], float32, normalised."""
    pct = settings.crop_pct if n_crops == 1 else 1.0
    height, width = scaled_size(picture.shape[0], picture.shape[1], (int(size[0] / pct), int(size[1] / pct)))
    modest(height, width)
    x = picture.permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 255  # [1, 3, H, W]
    if x.shape[-2:] != (height, width):
        x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (settings.mean, settings.std))
    offsets = crop_offsets(height, width, size, n_crops)
    return (torch.cat([x[..., top : top + size[0], left : left + size[1]] for top, left in offsets]) - mean) / std
