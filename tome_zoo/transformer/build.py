"""A merging transformer with random weights, from its shape."""

from collections.abc import Callable
from functools import partial

import torch
from timm.layers import LayerNorm, PatchEmbed
from torch import nn

from tome_zoo.merge import DEFAULT_REDUCER, AnyReducer
from tome_zoo.schedule import R
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.pooling import PrefixMeanPool
from tome_zoo.transformer.vit import MergingVisionTransformer


def build(
    architecture: Architecture,
    *,
    embed_layer: Callable[..., nn.Module] = PatchEmbed,
    r: R = 0,
    prop_attn: bool = True,
    reducer: AnyReducer = DEFAULT_REDUCER,
    drop_path_rate: float = 0.0,
    device: torch.device | str | None = None,
    cls: type[MergingVisionTransformer] = MergingVisionTransformer,
) -> MergingVisionTransformer:
    """Build a merging transformer with random weights, in evaluation mode.

    Args:
        architecture: Its shape.
        embed_layer: What turns an input into patch tokens; takes timm's arguments for one.
        r: Merging schedule, in any form of `schedule.resolve`.
        prop_attn: Whether attention weighs merged tokens by size.
        reducer: How tokens are reduced, see `tome_zoo.merge.get_reducer`.
        drop_path_rate: Stochastic depth of the last block, for training.
        device: Where the weights lie; "meta" gives a model without memory.
        cls: Class to build.
    """
    a = architecture
    norm_layer = partial(LayerNorm, eps=a.norm_eps)
    model = cls(
        img_size=a.size,
        patch_size=a.patch_size,
        in_chans=a.in_chans,
        num_classes=a.num_classes,
        global_pool="avg" if a.pool == "avg" else "token",
        embed_dim=a.embed_dim,
        depth=a.depth,
        num_heads=a.num_heads,
        mlp_ratio=a.mlp_ratio,
        qkv_bias=a.qkv_bias,
        class_token=a.class_token,
        reg_tokens=a.reg_tokens,
        drop_path_rate=drop_path_rate,
        embed_layer=embed_layer,
        norm_layer=norm_layer,
        device=device,
        r=r,
        prop_attn=prop_attn,
        reducer=reducer,
    )
    if a.pool == "prefix_mean":
        model.global_pool = a.pool
        model.attn_pool, model.pool_include_prefix = PrefixMeanPool(model.num_prefix_tokens), True
        model.fc_norm = norm_layer(a.embed_dim, device=device)
    return model.eval()
