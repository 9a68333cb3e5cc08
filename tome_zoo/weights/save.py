"""Write a model's weights so that the file says by itself of which model they are and which classes they tell apart."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from tome_zoo.cards import ModelCard, model_card
from tome_zoo.cards.timm_models import card_of_timm
from tome_zoo.errors import CardError, UnsupportedModelError
from tome_zoo.system.files import atomic_write
from tome_zoo.weights.metadata import WeightsMetadata


def save_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    dataset: str | None = None,
    protocol: str | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a model's tensors as safetensors under timm's names; the file appears whole or not at all.

    A model of the zoo or of timm (patched or not) states its name in the header, with the fields of its architecture
    that differ from the card of that name, so that `create_model(name, weights=path)` needs to be told nothing else.

    Args:
        model: Any; what neither the zoo nor timm can name is written without metadata, unless `classes` are given.
        path: The file to write; its folder is made if need be.
        classes: Names of the outputs in their order; none takes those of the model's card.
        dataset: Name of the data set card whose classes they are; None takes the model's.
        protocol: Name of the protocol card that scores the model; None takes the model's.
        dtype: Of the tensors in the file.

    Returns:
        The path.
    """
    path = Path(path)
    tensors = {key: value.detach().to(dtype).cpu().contiguous() for key, value in model.state_dict().items()}
    header = metadata_of(_card(model), classes, dataset, protocol).to_header()
    with atomic_write(path, "wb") as file:
        file.write(save(tensors, header))
    return path


def _card(model: nn.Module) -> ModelCard | None:
    """The card of a model, of a timm model by its `pretrained_cfg`; None if nobody knows it."""
    card: ModelCard | None = getattr(model, "card", None)
    if card is not None and card.architecture.num_classes == getattr(model, "num_classes", None):
        return card
    try:
        return card_of_timm(model)
    except (UnsupportedModelError, CardError):
        return card


def metadata_of(
    card: ModelCard | None, classes: Sequence[str] = (), dataset: str | None = None, protocol: str | None = None
) -> WeightsMetadata:
    """What a file of weights of a card's model says of itself; arguments come before what the card says."""
    if card is None:
        return WeightsMetadata(classes=tuple(classes), dataset=dataset, protocol=protocol)
    try:
        known: ModelCard | None = model_card(card.name)
    except CardError:  # a card that no catalogue lists
        known = None
    other = {"dataset": dataset or card.dataset, "protocol": protocol or card.protocol}
    return WeightsMetadata(
        model=card.name,
        architecture=_differences(card, known),
        classes=tuple(classes) or card.classes,
        **{key: None if known is not None and getattr(known, key) == name else name for key, name in other.items()},
    )


def _differences(card: ModelCard, known: ModelCard | None) -> dict[str, Any]:
    mine = card.architecture.model_dump(mode="json")
    theirs = {} if known is None else known.architecture.model_dump(mode="json")
    return {key: value for key, value in mine.items() if key not in theirs or theirs[key] != value}
