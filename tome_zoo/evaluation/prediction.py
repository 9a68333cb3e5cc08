"""The most probable classes of one recording, and of windows over a long one."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tome_zoo.cards import protocol_card
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.modalities import windows
from tome_zoo.modalities.sources import open_source
from tome_zoo.modalities.windows import Span
from tome_zoo.registry import ZooModel, require_classifier, resolve_model

log = logging.getLogger(__name__)

BATCH = 8  # views a forward


@dataclass(frozen=True)
class Prediction:
    """A class and its probability in [0, 1]; `index` is its output of the model."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Classification:
    """What a model says of a recording, or of a window of it.

    Attributes:
        predictions: The most probable classes, the best first.
        spans: The stretches of the recording that the model was shown, in seconds; none for an image.
        duration: Seconds that the whole recording lasts; None for an image.
    """

    predictions: list[Prediction]
    spans: tuple[Span, ...] = ()
    duration: float | None = None

    @property
    def coverage(self) -> str:
        """What was shown of how much, in words; empty for an image."""
        if self.duration is None:
            return ""
        shown = ", ".join(f"{span.start:.1f} to {span.end:.1f}" for span in self.spans)
        return f"{shown} s of {self.duration:.1f} s"


def predict(
    model: nn.Module | str, source: Any, top_k: int = 5, *, rate: float | None = None, protocol: str | None = None
) -> list[Prediction]:
    """The most probable classes of one image, video or sound, by the views of the model's own protocol.

    The EXIF orientation that a camera writes is applied here, as people see their photographs, but not by `evaluate`,
    which reproduces published figures. Of a long sound or video the protocol's views show a part only: `classify` tells
    which, `classify_windows` goes over all of it.

    Args:
        model: From `create_model`, at whatever `model.r` it has; a timm model after `tome_zoo.patch`; or a name, whose
            weights are loaded.
        source: A path, an open binary file, a Pillow image, or an array or tensor; see `modalities.sources`.
        top_k: How many classes.
        rate: Frames a second, or Hz, of a video or sound that is an array or tensor.
        protocol: Name of a protocol card; None takes the model's own.

    Returns:
        The best first. Probabilities are the softmax, mean over the views; on a data set with several labels a sample
        each class has its own (sigmoid).

    Raises:
        MediaError: If the source cannot be read.
        TomeZooError: If the model has no classifier, or gives scores that are not finite.
    """
    found = classify(model, source, top_k, rate=rate, protocol=protocol)
    if found.coverage:
        log.info("%s: %s", _name(source), found.coverage)
    return found.predictions


def classify(
    model: nn.Module | str, source: Any, top_k: int = 5, *, rate: float | None = None, protocol: str | None = None
) -> Classification:
    """As `predict`, and which part of a sound or video the prediction is of."""
    known = _classifier(model, top_k)
    modality = known.card.modality
    views_of = known.protocol if protocol is None else protocol_card(protocol)
    if views_of.modality != modality:
        raise DataError(f"{known.card.name} reads {modality}, but protocol {views_of.name} is for {views_of.modality}")
    with open_source(source, modality, known.card, rate) as media:
        views = known.preprocess.views(media, views_of)
        spans = windows.spans(media, modality, known.card, views_of)
        duration = windows.duration(media, modality, known.card)
    return Classification(_best(known, _logits(known, views, _name(source)), top_k), spans, duration)


def classify_windows(
    model: nn.Module | str, source: Any, top_k: int = 5, *, rate: float | None = None
) -> Iterator[Classification]:
    """A sound or video from beginning to end, in windows as long as the model sees at a time; the last ends with it.

    Arguments and errors are those of `predict`; an image has no windows.
    """
    known = _classifier(model, top_k)
    modality = known.card.modality
    with open_source(source, modality, known.card, rate) as media:
        duration = windows.duration(media, modality, known.card)
        for span, view in windows.windows(media, modality, known.card, known.protocol.sampling):
            logits = _logits(known, view, _name(source))
            yield Classification(_best(known, logits, top_k), (span,), duration)


def _classifier(model: nn.Module | str, top_k: int) -> ZooModel:
    known = resolve_model(model)
    require_classifier(known)
    if top_k < 1:
        raise TomeZooError(f"top_k should be at least 1, got {top_k}")
    return known


def _logits(model: ZooModel, views: Tensor, name: str) -> NDArray[np.float32]:
    """Scores of views, `[views, classes]`."""
    parameter = next(model.parameters())
    with torch.inference_mode(), _evaluating(model):
        logits = torch.cat([model(part.to(parameter.device, parameter.dtype)) for part in views.split(BATCH)])
    rows: NDArray[np.float32] = logits.float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise TomeZooError(
            f"{model.card.name} gave NaN or infinite scores for {name} in {parameter.dtype}; try float32"
        )
    return rows


def _best(model: ZooModel, rows: NDArray[np.float32], top_k: int) -> list[Prediction]:
    if model.protocol.metric == "map":  # several labels a sample
        probabilities = 1 / (1 + np.exp(-metrics.aggregate_views(rows, "logit_mean")))
    else:
        probabilities = metrics.aggregate_views(rows, "softmax_mean")
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(model.labels[index], int(index), float(probabilities[index])) for index in best]


def _name(source: Any) -> str:
    """A source in a message: its path, the name of the open file, or what it is."""
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return str(name) if name else f"the {type(source).__name__}"


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
