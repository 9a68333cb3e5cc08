"""What drawing needs to know of a model, and the one view of a file that is drawn."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tome_zoo import cards, modalities
from tome_zoo.cards.timm_models import card_of_timm
from tome_zoo.errors import MediaError
from tome_zoo.modalities import windows
from tome_zoo.modalities.inputs import AudioInput, Modality, Spec, VideoInput
from tome_zoo.modalities.sources import open_source
from tome_zoo.modalities.windows import OneView


@dataclass(frozen=True)
class Subject:
    """A model as seen by whoever draws it.

    Attributes:
        name: Of the model.
        modality: "image", "video" or "audio".
        spec: Preprocessing and size of the input; a model card is one.
        protocol: Which view of a file is drawn.
        labels: Names of the outputs.
        multi_label: Whether each class has a probability of its own.
    """

    name: str
    modality: Modality
    spec: Spec
    protocol: OneView
    labels: tuple[str, ...]
    multi_label: bool


def subject_of(model: nn.Module) -> Subject:
    """A model of the zoo by its card, any other by the card that timm's configuration of it makes.

    Raises:
        CardError: If it is a model that does not say how its input is prepared.
        UnsupportedModelError: If its tokens cannot be merged.
    """
    card = getattr(model, "card", None) or card_of_timm(model)
    protocol = cards.protocol_card(card.protocol)
    return Subject(
        name=card.name,
        modality=card.modality,
        spec=card,
        protocol=OneView(protocol.sampling),
        labels=cards.model_labels(card),
        multi_label=protocol.metric == "map",
    )


@dataclass(frozen=True, eq=False)
class DrawnView:
    """One view of a file.

    Attributes:
        name: Of the file.
        view: float32 `[channels, ...]`, as the model takes it.
        waveform: The whole sound, float32 `[samples]` at the model's rate; None for images and videos.
        rate: Frames a second of a clip, at true speed; None for images and sounds.
        coverage: Which part of a longer video or sound is drawn, in words; empty if it is all of it.
    """

    name: str
    view: Tensor
    waveform: Tensor | None = None
    rate: float | None = None
    coverage: str = ""


def read_sample(subject: Subject, source: Any, rate: float | None = None) -> DrawnView:
    """The drawn view of a file: its centre crop, the clip in its middle, its beginning.

    Args:
        subject: The model.
        source: A path, an open binary file, a Pillow image, or an array or tensor; see `modalities.sources`. An image
            is turned upright as the camera noted (EXIF).
        rate: Frames a second, or Hz, of a video or sound that is an array or tensor.

    Raises:
        MediaError: If the source cannot be read.
    """
    settings = subject.spec.input
    with open_source(source, subject.modality, subject.spec, rate) as media:
        view = modalities.get(subject.modality).views(media, subject.spec, subject.protocol)[0]
        part = _coverage(subject, media)
        playing = None
        if isinstance(settings, VideoInput):
            own = media.fps if subject.protocol.sampling == "strided" and media.fps else settings.target_fps
            playing = own / settings.sampling_rate
    waveform = media if subject.modality == "audio" else None
    return DrawnView(_name(source), view, waveform, playing, part)


def central_view(subject: Subject, source: Any) -> Tensor:
    """The view of `read_sample`, float32 `[channels, ...]`.

    Raises:
        MediaError: If the source cannot be read.
    """
    return read_sample(subject, source).view


def colours(subject: Subject, view: Tensor) -> np.ndarray:
    """A view of an image or a video as pixels again, uint8 `[height, width, 3]` or `[frames, height, width, 3]`.

    Args:
        subject: Whose preprocessing it went through.
        view: float `[3, height, width]` or `[3, frames, height, width]`.
    """
    settings: Any = subject.spec.input
    shape = (-1, *[1] * (view.ndim - 1))
    mean, std = (torch.tensor(values, dtype=torch.float32).view(shape) for values in (settings.mean, settings.std))
    values = (view.detach().float().cpu() * std + mean).mul(255).round().clamp(0, 255)
    return np.ascontiguousarray(values.to(torch.uint8).movedim(0, -1).numpy())


def log_mel(subject: Subject, view: Tensor) -> np.ndarray:
    """A view of a sound as Kaldi's log-mel energies again, float32 `[frames, mel bins]`, natural logarithm.

    Raises:
        MediaError: If the model reads no sound.
    """
    settings = subject.spec.input
    if not isinstance(settings, AudioInput):
        raise MediaError(f"expected a model of sounds, {subject.name} reads a {subject.modality}")
    return (view[0].detach().float().cpu() * (2 * settings.std) + settings.mean).numpy()


def _name(source: Any) -> str:
    named = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return Path(named).name if isinstance(named, str | os.PathLike) else "input"


def _coverage(subject: Subject, media: Any) -> str:
    whole = windows.duration(media, subject.modality, subject.spec)
    spans = windows.spans(media, subject.modality, subject.spec, subject.protocol)
    if whole is None or not spans or spans[0].end - spans[0].start > 0.95 * whole:
        return ""
    return f"{spans[0].start:.1f} to {spans[0].end:.1f} s of {whole:.1f} s"
