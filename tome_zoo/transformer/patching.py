"""`patch` and `unpatch`: merging for a timm model that exists already, or a refusal that says why not."""

import copy
from typing import Any

from timm.layers import Attention, AttentionPoolLatent
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.schedule import R, resolve
from tome_zoo.transformer.block import MergingBlock
from tome_zoo.transformer.vit import MergingVisionTransformer, MergingVisionTransformerDistilled

_SERVED: dict[type[nn.Module], type[nn.Module]] = {
    VisionTransformer: MergingVisionTransformer,
    VisionTransformerDistilled: MergingVisionTransformerDistilled,
}


def patch(model: VisionTransformer, r: R = 0, prop_attn: bool = True) -> MergingVisionTransformer:
    """Make a timm vision transformer merge tokens, in place; weights, state-dict keys and hooks on blocks stay.

    Args:
        model: A timm `VisionTransformer` or distilled DeiT; one already patched gets the new settings.
        r: Merging schedule, in any form of `schedule.resolve`.
        prop_attn: Whether attention weighs merged tokens by size. Supervised models want it; off-the-shelf MAE models
            do not.

    Returns:
        The same model.

    Raises:
        UnsupportedModelError: If the model cannot be merged exactly; it is left as it was.
        ScheduleError: If `r` is no schedule for the model.
    """
    if not isinstance(model, MergingVisionTransformer):
        reason = refusal(model)
        if reason is not None:
            raise UnsupportedModelError(
                f"cannot merge tokens of {type(model).__name__}: {reason}. The model is unchanged"
            )
        resolve(r, len(model.blocks))
        for block in model.blocks:
            block.__class__ = MergingBlock
        model.__class__ = _SERVED[type(model)]
    model.prop_attn = prop_attn
    model.r = r
    return model


def unpatch(model: VisionTransformer) -> VisionTransformer:
    """Turn a merging transformer back into timm's own, in place; a model that does not merge is returned as it is.

    Raises:
        UnsupportedModelError: If timm has no such model (pooling "prefix_mean").
    """
    if not isinstance(model, MergingVisionTransformer):
        return model
    if model.global_pool == "prefix_mean":
        raise UnsupportedModelError(
            "timm has no pooling 'prefix_mean', so this model has no unmerged timm form: set r = 0"
        )
    for block in model.blocks:
        block.__class__ = Block
    model.__class__ = next(cls for cls in type(model).__mro__ if cls in _SERVED)  # type: ignore[assignment]
    for name in ("_r", "_schedule", "_prop_attn", "_sized"):
        model.__dict__.pop(name, None)
    return model


def refusal(model: VisionTransformer) -> str | None:
    """Why a model cannot be merged exactly, or None when `patch` serves it."""
    if type(model) not in _SERVED:
        served = " and ".join(cls.__name__ for cls in _SERVED)
        return f"patch serves timm's {served} (class token or none, registers, LayerScale, q/k norm, pre-norm)"
    for index, block in enumerate(model.blocks):
        if type(block) is not Block:
            return (
                f"block {index} is a {type(block).__name__}; only pre-norm blocks (timm's Block) have a place to merge"
            )
        if type(block.attn) is not Attention:
            return f"the attention of block {index} is a {type(block.attn).__name__}; only timm's Attention is served"
    pool = model.attn_pool
    if pool is not None and (type(pool) is not AttentionPoolLatent or pool.pos_embed is not None):
        return f"its pooling head {type(pool).__name__} needs every token at its own position"
    return None


def twin(model: nn.Module) -> Any:
    """A copy with modules and settings of its own on the same parameters and buffers."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
