"""A card to a merging model: of the zoo's architecture, or timm's own model of that name."""

from typing import Any

import timm
import torch

from tome_zoo import modalities
from tome_zoo.cards import ModelCard
from tome_zoo.cards.timm_models import timm_card
from tome_zoo.errors import CardError, CheckpointError, TomeZooError
from tome_zoo.merge import DEFAULT_REDUCER, AnyReducer
from tome_zoo.registry.model import ZooModel
from tome_zoo.schedule import R
from tome_zoo.transformer.build import build as build_transformer
from tome_zoo.transformer.patching import patch
from tome_zoo.transformer.vit import MergingVisionTransformer
from tome_zoo.weights.cache import is_offline
from tome_zoo.weights.fetch import SWITCHED_OFF, find_cached

OWN_POOLS = ("avg", "token", "prefix_mean")
ARGUMENTS = {
    name: name
    for name in (
        "embed_dim", "depth", "num_heads", "num_classes", "patch_size", "img_size", "in_chans", "class_token",
        "reg_tokens", "mlp_ratio", "qkv_bias",
    )
} | {"pool": "global_pool"}  # fmt: skip
"""Field of `Architecture` -> argument of `timm.create_model`."""


def build(
    card: ModelCard,
    *,
    r: R | None = None,
    prop_attn: bool | None = None,
    reducer: AnyReducer = DEFAULT_REDUCER,
    drop_path_rate: float = 0.0,
    device: torch.device | str | None = None,
    pretrained: bool = False,
) -> MergingVisionTransformer:
    """Build the model of a card, in evaluation mode, with random weights or, by timm, with those that timm publishes.

    Args:
        card: Of a model; its architecture may differ from the published one.
        r: Merging schedule; None merges nothing.
        prop_attn: Whether attention weighs merged tokens by size; None takes the card's.
        reducer: How tokens are reduced, see `tome_zoo.merge.get_reducer`.
        drop_path_rate: Stochastic depth, for training.
        device: Where the model lies; "meta" gives one without memory.
        pretrained: Let timm load its weights; for cards of timm's models only.

    Raises:
        CardError: If timm's model cannot be built with the card's architecture.
        UnsupportedModelError: If timm's model cannot be merged exactly.
        CheckpointError: If timm cannot load its weights.
    """
    settings: dict[str, Any] = {
        "r": 0 if r is None else r,
        "prop_attn": card.merging.prop_attn if prop_attn is None else prop_attn,
        "reducer": reducer,
    }
    if card.timm is not None:
        return patch(_build_timm(card, drop_path_rate, device, pretrained), **settings)
    if card.architecture.pool not in OWN_POOLS:
        raise CardError(f"pool {card.architecture.pool!r} is built by timm alone; choose one of {', '.join(OWN_POOLS)}")
    return build_transformer(
        card.architecture,
        embed_layer=modalities.get(card.modality).embed_layer(card.architecture),
        drop_path_rate=drop_path_rate,
        device=device,
        cls=ZooModel,
        **settings,
    )


def _build_timm(card: ModelCard, drop_path_rate: float, device: torch.device | str | None, pretrained: bool) -> Any:
    """timm's model, in evaluation mode."""
    arguments = _differences(card)
    if drop_path_rate:
        arguments["drop_path_rate"] = drop_path_rate
    if pretrained and is_offline() and (card.weights is None or find_cached(card.weights) is None):
        raise CheckpointError(f"timm's weights of {card.name} are not at hand, and {SWITCHED_OFF}. {_by_hand()}")
    try:
        with torch.device("cpu" if device is None else device):
            return timm.create_model(card.timm, pretrained=pretrained, **arguments).eval()
    except (TypeError, AssertionError, ValueError) as error:
        if isinstance(error, TomeZooError):
            raise
        raise CardError(f"timm's {card.timm} cannot be built with {arguments}: {error}") from None
    except Exception as error:  # the hub's client raises its HTTP library's errors, and its own
        if not pretrained:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"timm could not load the weights of {card.name}: {reason}. {_by_hand()}") from None


def _differences(card: ModelCard) -> dict[str, Any]:
    """Arguments for timm: the fields in which a card's architecture differs from that of timm's model.

    Raises:
        CardError: If timm's model has no such argument.
    """
    mine, theirs = card.architecture.model_dump(), timm_card(str(card.timm)).architecture.model_dump()
    changed = {name: value for name, value in mine.items() if value != theirs[name]}
    if unknown := [name for name in changed if name not in ARGUMENTS]:
        raise CardError(
            f"{unknown[0]!r} of timm's {card.timm} cannot be changed; what can: {', '.join(sorted(ARGUMENTS))}"
        )
    return {ARGUMENTS[name]: value for name, value in changed.items()}


def _by_hand() -> str:
    return "Bring a file with weights= (--weights)"
