"""A model that knows its card: how to prepare a file for it, and what its outputs are called."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from tome_zoo import modalities
from tome_zoo.cards import ModelCard, ProtocolCard, model_labels, protocol_card
from tome_zoo.errors import TomeZooError
from tome_zoo.modalities.inputs import ViewProtocol
from tome_zoo.transformer.vit import MergingVisionTransformer


@dataclass(frozen=True)
class Preprocess:
    """Reads a file and makes the views of it that a model sees.

    Attributes:
        card: The model's card, which says how.
    """

    card: ModelCard

    def __call__(self, path: str | os.PathLike[str], protocol: str | None = None) -> Tensor:
        """Read a file and make the views that a protocol takes of it.

        Args:
            path: An image, video or sound. An image is taken as it is stored, as evaluations do: the orientation that
                a camera notes in EXIF is applied by `predict` alone.
            protocol: Name of a protocol card; None takes the model card's.

        Returns:
            float32 `[views, channels, ...]`, ready for `forward`.

        Raises:
            MediaError: If the file cannot be read.
        """
        modality = modalities.get(self.card.modality)
        views = protocol_card(self.card.protocol if protocol is None else protocol)
        return modality.load(Path(path), self.card, views)

    def views(self, media: Any, protocol: ViewProtocol) -> Tensor:
        """The views of a recording that is read already, float32 `[views, channels, ...]`."""
        return modalities.get(self.card.modality).views(media, self.card, protocol)


class ZooModel(MergingVisionTransformer):
    """A merging transformer that knows its card.

    A timm model keeps its own class and gets the same attributes.
    """

    card: ModelCard
    """The card it was built from, with the overrides applied."""
    protocol: ProtocolCard
    """The card's evaluation protocol."""
    labels: tuple[str, ...]
    """Names of the outputs: the data set's where the class counts agree and it has names, else "class 0" and so on."""
    preprocess: Preprocess
    """Path of a file -> its views, float32 `[views, channels, ...]`."""


def attach_card(model: nn.Module, card: ModelCard) -> ZooModel:
    """Let a merging model know its card, in place.

    Raises:
        CardError: If the card names a protocol or a data set that does not exist.
    """
    known = cast(ZooModel, model)
    known.card = card
    known.protocol = protocol_card(card.protocol)
    known.labels = model_labels(card)
    known.preprocess = Preprocess(card)
    return known


def require_classifier(model: nn.Module | ModelCard) -> None:
    """Refuse a model without classifier where outputs are to be read as classes.

    Args:
        model: A model, or a card before its weights are fetched for nothing.

    Raises:
        TomeZooError: If it has none; the message says how to get one.
    """
    card: ModelCard | None = model if isinstance(model, ModelCard) else getattr(model, "card", None)
    owner = model.architecture if isinstance(model, ModelCard) else model
    if getattr(owner, "num_classes", 0) > 0:
        return
    name = "the model" if card is None else card.name
    raise TomeZooError(
        f"{name} is a pre-trained encoder without classifier, it has no classes to predict: bring a fine-tuned file "
        "with weights= (--weights), whose classifier is taken over, or fine-tune one with num_classes=N"
    )
