"""Multiply-accumulates of a transformer at a given r, in closed form.

The paper's convention: one multiply-accumulate counts one; matrix products (patch embedding, linear layers, attention,
classifier, and the similarity matrix of the matching) and LayerNorm (5 for each element) count; softmax, activations,
biases and the moving of tokens do not. Every figure that the paper prints comes out to its last digit.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import AttentionPoolLatent
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import StepShape, get_reducer, merge_count
from tome_zoo.schedule import R, resolve

NORM_MACS = 5  # for each element of an affine LayerNorm


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one view (one image, clip or spectrogram).

    Attributes:
        matmul: Patch embedding, linear layers, attention products, classifier.
        norm: LayerNorm, 5 for each element.
        matching: What the reducer costs: the similarity matrices of the matching.
        tokens: Tokens that leave each block, prefix tokens included.
    """

    matmul: int
    norm: int
    matching: int
    tokens: tuple[int, ...]

    @property
    def total(self) -> int:
        """All of them: what a counter of operations finds in the running model, all tokens of the last block computed.

        A model whose head reads prefix tokens alone spares itself the others there (`MergingBlock.forward_prefix`).
        """
        return self.matmul + self.norm + self.matching

    @property
    def gmacs(self) -> float:
        """The total in units of 10^9, as papers print it."""
        return self.total / 1e9


def tokens_per_block(schedule: Iterable[int], n_tokens: int, protected: int) -> tuple[int, ...]:
    """Tokens that leave each block.

    Args:
        schedule: Tokens to merge in each block, as from `schedule.resolve`.
        n_tokens: Tokens that enter the first block, prefix included.
        protected: Prefix tokens, which never merge.
    """
    left = []
    for r in schedule:
        n_tokens -= merge_count(r, n_tokens, protected)
        left.append(n_tokens)
    return tuple(left)


def count_macs(model: VisionTransformer, r: R | Sequence[int | float] | None = None) -> Macs:
    """Count one view through a timm `VisionTransformer`, patched or not, on any device, the meta device included.

    Args:
        model: The transformer, at its own input size.
        r: Merging schedule, in any form of `schedule.resolve`; None takes the model's own, 0 for an unpatched one.

    Raises:
        UnsupportedModelError: If the patches are not made by convolutions of a stated input size.
        ScheduleError: If `r` is no schedule for the model.
    """
    r = getattr(model, "r", 0) if r is None else r
    reducer = getattr(model, "reducer", None) or get_reducer()
    grid = model.patch_embed.grid_size
    n_patches = 1
    for side in grid:
        n_patches *= side
    protected = model.num_prefix_tokens
    n_tokens = n_patches + protected
    schedule = resolve(r, len(model.blocks))
    tokens = tokens_per_block(schedule, n_tokens, protected)

    matmul = _patch_embedding(model.patch_embed, n_patches)
    norm = _norms(model.norm_pre, n_tokens)
    matching = 0
    for block, n_in, n_out in zip(model.blocks, (n_tokens, *tokens[:-1]), tokens, strict=True):
        attn = block.attn
        matmul += _linears(attn, n_in) + _linears(block.mlp, n_out)
        matmul += 2 * n_in * n_in * attn.num_heads * attn.head_dim
        norm += (
            _norms(block.norm1, n_in) + _norms(block.norm2, n_out) + _norms(attn.norm, n_in) + _norms(block.mlp, n_out)
        )
        norm += (_norms(attn.q_norm, n_in) + _norms(attn.k_norm, n_in)) * attn.num_heads
        if n_out < n_in:
            width = attn.num_heads * attn.head_dim
            matching += reducer.count(StepShape(n_in, protected, n_in - n_out, width, attn.num_heads, attn.head_dim))
    last = tokens[-1] if tokens else n_tokens
    norm += _norms(model.norm, last)
    head_matmul, head_norm = _head(model, last)
    return Macs(matmul + head_matmul, norm + head_norm, matching, tokens)


def _patch_embedding(patch_embed: Any, n_patches: int) -> int:
    proj = getattr(patch_embed, "proj", None)
    if isinstance(proj, nn.Conv2d | nn.Conv3d) and not hasattr(patch_embed, "backbone"):
        return n_patches * proj.weight.numel()
    return _stem(patch_embed)


def _stem(patch_embed: Any) -> int:
    """Convolutions of a stem that has several, as torch counts them; it runs on the meta device."""
    first = next((m for m in patch_embed.modules() if isinstance(m, nn.Conv2d)), None)
    size = getattr(patch_embed, "img_size", None)
    if first is None or size is None:
        raise UnsupportedModelError(
            f"count_macs knows patches that convolutions make of a stated img_size; {type(patch_embed).__name__} has "
            "none. Count such a model with torch.utils.flop_counter"
        )
    stem = copy.deepcopy(patch_embed).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        stem(torch.empty(1, first.in_channels, *size, device="meta"))
    return int(counter.get_total_flops()) // 2  # a multiplication and an addition each


def _linears(module: nn.Module, n_tokens: int) -> int:
    return n_tokens * sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


def _norms(module: nn.Module, n_tokens: int) -> int:
    sizes = (m.weight.numel() for m in module.modules() if isinstance(m, nn.LayerNorm) and m.weight is not None)
    return NORM_MACS * n_tokens * sum(sizes)


def _head(model: VisionTransformer, n_tokens: int) -> tuple[int, int]:
    matmul = _linears(model.head, 1)
    if hasattr(model, "head_dist"):
        matmul += _linears(model.head_dist, 1)
    norm = _norms(model.fc_norm, 1)
    pool = model.attn_pool
    if isinstance(pool, AttentionPoolLatent):
        n_pooled = n_tokens if model.pool_include_prefix else n_tokens - model.num_prefix_tokens
        latents = pool.latent_len
        matmul += _linears(pool.q, latents) + _linears(pool.kv, n_pooled) + _linears(pool.proj, latents)
        matmul += 2 * latents * n_pooled * pool.num_heads * pool.head_dim
        norm += (_norms(pool.q_norm, latents) + _norms(pool.k_norm, n_pooled)) * pool.num_heads
        if pool.mlp is not None:
            matmul += _linears(pool.mlp, latents)
            norm += _norms(pool.norm, latents)
    return matmul, norm
