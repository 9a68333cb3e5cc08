"""The most probable classes of one file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tome_zoo import cards
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.registry import ZooModel, require_classifier


@dataclass(frozen=True)
class Prediction:
    """A class and its probability in [0, 1]; `index` is its output of the model."""

    label: str
    index: int
    probability: float


def predict(model: ZooModel, path: str | Path, top_k: int = 5) -> list[Prediction]:
    """The most probable classes of one image, video or sound, by the views of the model's own protocol.

    Args:
        model: From `create_model`, at whatever `model.r` it has.
        path: A file.
        top_k: How many classes.

    Returns:
        The best first. Probabilities are the softmax, mean over the views; on a data set with several labels a sample
        each class has its own (sigmoid).

    Raises:
        MediaError: If the file cannot be read.
        TomeZooError: If the model has no classifier, or gives scores that are not finite.
    """
    require_classifier(model)
    if top_k < 1:
        raise TomeZooError(f"top_k should be at least 1, got {top_k}")
    views = model.preprocess(path)
    parameter = next(model.parameters())
    with torch.inference_mode(), _evaluating(model):
        logits = torch.cat([model(part.to(parameter.device, parameter.dtype)) for part in views.split(8)])
    rows = logits.float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise TomeZooError(
            f"{model.card.name} gave NaN or infinite scores for {path} in {parameter.dtype}; try float32"
        )
    if cards.dataset_card(model.card.dataset).multi_label:
        probabilities = 1 / (1 + np.exp(-metrics.aggregate_views(rows, "logit_mean")))
    else:
        probabilities = metrics.aggregate_views(rows, "softmax_mean")
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(model.labels[index], int(index), float(probabilities[index])) for index in best]


class _evaluating:  # noqa: N801 - reads as a verb
    """A model in evaluation mode for a while."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.training)
