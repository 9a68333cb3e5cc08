"""The model to train: weights to start from, a head for the classes of the data, dropout and masking of the recipe."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tome_zoo import cards, registry
from tome_zoo.cards.schema import ModelCard, RecipeCard
from tome_zoo.data.dataset import Dataset
from tome_zoo.errors import CheckpointError, DataError, TomeZooError
from tome_zoo.registry import ZooModel
from tome_zoo.registry.model import attach_card
from tome_zoo.training.init_weights import init_weights
from tome_zoo.training.patch_drop import GridDrop
from tome_zoo.training.seeds import derive, seeded

DEFAULT_PROTOCOLS = {
    ("image", False): "image_center_crop", ("video", False): "video_10x1", ("audio", False): "audio_clip_top1",
    ("audio", True): "audio_clip",
}  # fmt: skip
"""By (modality, whether a sample may have several classes), where the model's own protocol does not suit the data."""


def build_model(
    name: str,
    data: Dataset,
    recipe: RecipeCard,
    *,
    weights: str | Path | None = None,
    use_ema: bool | None = None,
    protocol: str | None = None,
    seed: int = 0,
    **overrides: Any,
) -> ZooModel:
    """A model that tells the classes of the data apart, in training mode.

    Weights come from the card or from `weights`; position embeddings are interpolated where the grid is another. The
    classifier stays if it has as many classes as the data, else it is a fresh one.

    Args:
        name: Of the model card.
        data: What it is trained on.
        recipe: Where it starts from, and its drop path, dropout and masking.
        weights: A file or URL instead of the card's.
        use_ema: Of raw and averaged weights in a file, whether to take the averaged ones; None does as timm does.
        protocol: Name of the protocol that scores it; None takes the card's if it suits the data.
        seed: Of fresh weights.
        **overrides: Fields of `Architecture`.

    Raises:
        DataError: If the data are of another modality.
        CheckpointError: If there are no weights to start from.
    """
    card = cards.model_card(name)
    if card.modality != data.card.modality:
        raise DataError(f"{name} reads {card.modality}, but data set {data.card.name} is {data.card.modality}")
    with seeded(derive(seed, "weights")):
        if recipe.start == "scratch" and weights is None:
            overrides |= {"num_classes": data.num_classes}
            model = registry.create_model(
                name, drop_path_rate=recipe.drop_path, prop_attn=recipe.prop_attn, **overrides
            )
            init_weights(model, torch.Generator().manual_seed(derive(seed, "weights")))
        else:
            model = _pretrained(name, weights, recipe, {"use_ema": use_ema, **overrides})
    return prepare_model(model, data, recipe, protocol=protocol, seed=seed)


def prepare_model(
    model: ZooModel, data: Dataset, recipe: RecipeCard, *, protocol: str | None = None, seed: int = 0
) -> ZooModel:
    """Make a model ready for a recipe, in place: its head, its card, its dropout and masking."""
    if model.num_classes != data.num_classes:
        with seeded(derive(seed, "head")):
            model.reset_classifier(data.num_classes)
            nn.init.trunc_normal_(model.head.weight, std=recipe.head_init_std)
            nn.init.zeros_(model.head.bias)
    if recipe.prop_attn is not None:
        model.prop_attn = recipe.prop_attn
    model.reducer = recipe.reducer
    attach_card(model, _card_for(model, data, protocol))
    model.head_drop = nn.Dropout(recipe.dropout)
    drop = (recipe.time_patch_drop, recipe.frequency_patch_drop)
    if any(drop):
        _, frames, bins = model.card.architecture.grid
        model.patch_drop = GridDrop((frames, bins), drop, model.card.architecture.num_prefix_tokens)
    return model.requires_grad_(True).train()


def _pretrained(name: str, weights: str | Path | None, recipe: RecipeCard, overrides: dict[str, Any]) -> ZooModel:
    options: dict[str, Any] = {
        "pretrained": True, "weights": weights, "drop_path_rate": recipe.drop_path, "prop_attn": recipe.prop_attn,
        **overrides,
    }  # fmt: skip
    if weights is None and cards.model_card(name).weights is None:
        raise CheckpointError(
            f"the card of {name!r} names no weights to start from: bring a file with weights= (--weights), or start "
            "from nothing with start='scratch' (--from-scratch)"
        )
    try:
        return registry.create_model(name, **options)
    except CheckpointError:  # a classifier of another size than the card's, or none: the rest is what is wanted
        return registry.create_model(name, **{**options, "num_classes": 0})


def _card_for(model: ZooModel, data: Dataset, protocol: str | None) -> ModelCard:
    """The model's card, with the classes of the data."""
    card = model.card
    if protocol is None:
        suits = (cards.protocol_card(card.protocol).metric == "map") == data.card.multi_label
        protocol = card.protocol if suits else DEFAULT_PROTOCOLS.get((card.modality, data.card.multi_label))
    if protocol is None:
        raise DataError(f"no protocol scores {card.modality} samples of several classes: name one of your own")
    rule = cards.protocol_card(protocol)
    if (rule.metric == "map") != data.card.multi_label or rule.modality != card.modality:
        raise TomeZooError(
            f"protocol {rule.name} measures {rule.metric} of {rule.modality}, which does not suit data set "
            f"{data.card.name}: name another protocol"
        )
    architecture = card.architecture.model_copy(update={"num_classes": data.num_classes})
    classes = data.labels if len(data.labels) == data.num_classes else ()
    return card.model_copy(
        update={"architecture": architecture, "classes": classes, "dataset": data.card.name, "protocol": rule.name}
    )
