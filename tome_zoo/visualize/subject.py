"""What drawing needs to know of a model, and the one view of a file that is drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tome_zoo import cards, modalities
from tome_zoo.cards.timm_models import card_of_timm
from tome_zoo.errors import MediaError
from tome_zoo.modalities.inputs import AudioInput, Modality, Sampling, Spec, VideoInput


@dataclass(frozen=True)
class CentralView:
    """A protocol of one view: the clip in the middle of a video, the centre crop, the beginning of a sound."""

    sampling: Sampling = "clip"
    temporal_views: int = 1
    spatial_views: int = 1


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
    protocol: CentralView
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
        protocol=CentralView(protocol.sampling),
        labels=cards.model_labels(card),
        multi_label=protocol.metric == "map",
    )


@dataclass(frozen=True, eq=False)
class Sample:
    """One view of a file.

    Attributes:
        name: Of the file.
        view: float32 `[channels, ...]`, as the model takes it.
        waveform: The whole sound, float32 `[samples]` at the model's rate; None for images and videos.
        rate: Frames a second of a clip, at true speed; None for images and sounds.
    """

    name: str
    view: Tensor
    waveform: Tensor | None = None
    rate: float | None = None


def read_sample(subject: Subject, path: str | Path) -> Sample:
    """The drawn view of a file: its centre crop, the clip in its middle, its beginning.

    Raises:
        MediaError: If the file cannot be read.
    """
    modality = modalities.get(subject.modality)
    media = modality.read(Path(path), subject.spec)
    view = modality.views(media, subject.spec, subject.protocol)[0]
    settings = subject.spec.input
    if isinstance(settings, AudioInput):
        return Sample(Path(path).name, view, waveform=media)
    if isinstance(settings, VideoInput):
        own = media.fps if subject.protocol.sampling == "strided" and media.fps else settings.target_fps
        return Sample(Path(path).name, view, rate=own / settings.sampling_rate)
    return Sample(Path(path).name, view)


def central_view(subject: Subject, path: str | Path) -> Tensor:
    """The view of `read_sample`, float32 `[channels, ...]`.

    Raises:
        MediaError: If the file cannot be read.
    """
    return read_sample(subject, path).view


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
