"""A data set decoded into memory, one view a sample, for training and quick scores."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tome_zoo.cards import protocol_card
from tome_zoo.data.dataset import Dataset
from tome_zoo.data.decode import decode as decode_samples
from tome_zoo.errors import DataError
from tome_zoo.evaluation import metrics
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Examples:
    """A decoded data set.

    Attributes:
        views: float16 `[samples, channels, ...]`.
        targets: Class indices, int64 `[samples]`, or several classes a sample, float32 `[samples, classes]`.
    """

    views: Tensor
    targets: Tensor

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several classes."""
        return self.targets.ndim == 2


def decode(model: ZooModel, data: Dataset, *, progress: Progress | None = None) -> Examples:
    """Decode one view of every sample into memory; samples that cannot be decoded are left out and logged.

    Raises:
        DataError: If none can.
    """
    protocol = protocol_card(model.card.protocol).model_copy(update={"temporal_views": 1, "spatial_views": 1})
    views: list[Tensor] = []
    kept: list[Any] = []
    for item in decode_samples(data, range(len(data)), model.card, protocol):
        if item.views is None:
            log.warning("%s is left out: %s", data.samples[item.index].id, item.reason)
        else:
            views.append(item.views[0].half())
            kept.append(data.samples[item.index].target)
        if progress is not None:
            progress(item.index + 1, len(data), f"decoding {data.split}")
    if not views:
        raise DataError(f"{data.root}: none of the {len(data)} samples of split {data.split!r} can be decoded")
    if data.card.multi_label:
        targets = torch.from_numpy(metrics.multi_hot(kept, data.num_classes)).float()
    else:
        targets = torch.tensor(kept)
    return Examples(torch.stack(views), targets)


@torch.inference_mode()
def evaluate_examples(
    model: ZooModel, examples: Examples, *, r: R = 0, batch_size: int = 100, device: torch.device | str = "cpu"
) -> float:
    """Top-1, or mAP where samples have several labels, of a model on decoded samples, in per cent."""
    kept, model.r = model.r, r
    try:
        logits = torch.cat([model(part.float().to(device)).float().cpu() for part in examples.views.split(batch_size)])
    finally:
        model.r = kept
    if examples.multi_label:
        return float(metrics.mean_average_precision(logits.numpy(), examples.targets.numpy()).map)
    return float(metrics.top_k_accuracy(logits.numpy(), examples.targets.numpy(), 1))
