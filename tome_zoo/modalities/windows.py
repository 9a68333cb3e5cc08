"""Which seconds of a recording a model is shown, and windows that cover all of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tome_zoo.errors import MediaError
from tome_zoo.modalities import audio, video
from tome_zoo.modalities._checks import input_of
from tome_zoo.modalities.inputs import AudioInput, Modality, Sampling, Span, Spec, VideoInput, ViewProtocol


@dataclass(frozen=True)
class OneView:
    """A protocol of one view."""

    sampling: Sampling = "clip"
    temporal_views: int = 1
    spatial_views: int = 1


def duration(media: Any, modality: Modality, spec: Spec) -> float | None:
    """Seconds that a recording lasts; None for an image."""
    if modality == "image":
        return None
    count = len(media) if modality == "audio" else media.num_frames
    return float(count / _rate(media, modality, spec))


def spans(media: Any, modality: Modality, spec: Spec, protocol: ViewProtocol) -> tuple[Span, ...]:
    """The stretches that the temporal views of a protocol show; none for an image.

    Args:
        media: What `read` of the modality gives: a video, or a waveform at the model's rate.
        modality: What it is.
        spec: The model.
        protocol: Which views.
    """
    if modality == "image":
        return ()
    rate = _rate(media, modality, spec)
    if modality == "audio":
        length = audio.view_samples(spec, input_of(spec, AudioInput))
        starts = audio.crop_starts(len(media), length, protocol.temporal_views)
        return tuple(Span(start / rate, min(start + length, len(media)) / rate) for start in starts)
    frames = int(spec.architecture.num_frames or 1)
    clips = video.clips(media.num_frames, media.fps, frames, input_of(spec, VideoInput), protocol)
    return tuple(Span(min(clip) / rate, (max(clip) + 1) / rate) for clip in clips)


def windows(media: Any, modality: Modality, spec: Spec, sampling: Sampling) -> Iterator[tuple[Span, Tensor]]:
    """A recording from beginning to end in stretches as long as the model sees at a time; the last one ends with it.

    Args:
        media: As for `spans`.
        modality: "video" or "audio".
        spec: The model.
        sampling: Which frames a clip has, as the protocol says.

    Yields:
        Each stretch and its one view, `[1, channels, ...]`.

    Raises:
        MediaError: If it is an image, or a part cannot be decoded.
    """
    if modality == "image":
        raise MediaError("an image has no windows: it is seen as a whole")
    total = len(media) if modality == "audio" else media.num_frames
    length = min(_window(media, modality, spec, sampling), total)
    rate = _rate(media, modality, spec)
    starts = [*range(0, total - length, length), total - length]
    for start in starts:
        if modality == "audio":
            view = audio.views(media[start : start + length], spec, OneView())
        else:
            view = video.views(video.Stretch(media, start, length), spec, OneView(sampling))
        yield Span(start / rate, (start + length) / rate), view


def _rate(media: Any, modality: Modality, spec: Spec) -> float:
    """Samples, or frames, a second; a video that does not tell is taken to have the model's rate, as its clips are."""
    if modality == "audio":
        return float(input_of(spec, AudioInput).sample_rate)
    return float(media.fps or input_of(spec, VideoInput).target_fps)


def _window(media: Any, modality: Modality, spec: Spec, sampling: Sampling) -> int:
    """Samples or frames that the model sees at a time."""
    if modality == "audio":
        return audio.view_samples(spec, input_of(spec, AudioInput))
    settings, frames = input_of(spec, VideoInput), int(spec.architecture.num_frames or 1)
    if sampling == "strided":
        return frames * settings.sampling_rate
    return max(1, math.ceil(video.clip_length(frames, settings.sampling_rate, settings.target_fps, media.fps)))
