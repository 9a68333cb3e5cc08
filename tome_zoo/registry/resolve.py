"""Whatever stands for a model - a name, a model of the zoo, a patched timm model - as a model that knows its card."""

import os
from typing import Any, cast

from torch import nn

from tome_zoo.cards.timm_models import card_of_timm
from tome_zoo.errors import TomeZooError, UnsupportedModelError
from tome_zoo.registry.create import create_model
from tome_zoo.registry.model import ZooModel, attach_card
from tome_zoo.transformer.patching import unsupported_reason
from tome_zoo.transformer.vit import MergingVisionTransformer


def resolve_model(
    model: str | nn.Module, *, pretrained: bool = True, weights: str | os.PathLike[str] | None = None, **options: Any
) -> ZooModel:
    """A merging model with `card`, `protocol`, `labels` and `preprocess`.

    Args:
        model: A name, as `create_model` takes it; a model that `create_model` gave; or a timm model that
            `tome_zoo.patch` has made merge, which gets these attributes from its `pretrained_cfg` and stays as it is
            in all else.
        pretrained: Whether the model of a name gets the weights that its card names.
        weights: For a name: a file or URL instead of them.
        **options: For a name: further arguments of `create_model`.

    Raises:
        CardError: If neither the zoo nor timm has the name, or the model does not say how its input is prepared.
        UnsupportedModelError: If the model does not merge.
        TomeZooError: If weights or options are given for a model that exists already.
    """
    if isinstance(model, str):
        return create_model(model, pretrained, weights, **options)
    if weights is not None or options:
        raise TomeZooError(
            f"{', '.join([*(['weights'] if weights is not None else []), *options])} goes with a name, but a model was "
            "given: load weights with create_model(name, weights=...), or into the model before"
        )
    card = getattr(model, "card", None)
    known = card is not None and card.architecture.num_classes == getattr(model, "num_classes", None)
    if known and hasattr(model, "r"):  # `unpatch` leaves a card, but nothing that merges
        return cast(ZooModel, model)
    if isinstance(model, MergingVisionTransformer):
        return attach_card(model, card_of_timm(model))
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    reason = unsupported_reason(model)
    raise UnsupportedModelError(
        f"expected a name, a model from create_model or a timm model that merges, got {kind}: "
        + ("call tome_zoo.patch(model) first" if reason is None else reason)
    )
