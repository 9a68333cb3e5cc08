"""Merging as the paper writes it down, with every step spelled out: what the benchmark holds the fast way against.

The whole softmax matrix lies in memory, tokens are split into their sets, gathered and scattered, and the last block
computes all of its tokens. The rules of matching are those of `tome_zoo.merge`, so that the outputs are the same.

Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, arXiv 2210.09461, section 3.
"""

from typing import NamedTuple

import torch
from timm.layers import Attention
from torch import Tensor
from torch.nn import functional as F

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import compose, merge_count
from tome_zoo.transformer.block import BlockReducer, MergingBlock, State
from tome_zoo.transformer.patching import share_parameters
from tome_zoo.transformer.vit import MergingVisionTransformer


def explicit(model: MergingVisionTransformer) -> MergingVisionTransformer:
    """The same model with explicit blocks: modules and settings of its own, on the same parameters and buffers.

    Args:
        model: A merging transformer; it is left as it is.

    Raises:
        UnsupportedModelError: If the model does not merge.
    """
    if not isinstance(model, MergingVisionTransformer):
        raise UnsupportedModelError(
            f"explicit expected a merging transformer, got {type(model).__name__}: call tome_zoo.patch on it first"
        )
    if not model.reducer.is_default:
        raise UnsupportedModelError(f"explicit writes out the default matching, not {model.reducer.name!r}")
    same = share_parameters(model)
    for block in same.blocks:
        block.__class__ = ExplicitBlock
        block.attn.fused_attn = False  # for plain calls, at r = 0
    return same


class ExplicitBlock(MergingBlock):
    """`MergingBlock` without fused attention and fast path; the last one is computed whole, as the paper's is."""

    def merging_forward(
        self,
        x: Tensor,
        size: Tensor | None,
        trace: Tensor | None,
        r: int,
        protected: int,
        prop_attn: bool,
        reducer: BlockReducer | None = None,
    ) -> State:
        """As `MergingBlock.merging_forward`."""
        attended, keys = attend(self.attn, self.norm1(x), size if prop_attn else None)
        x = x + self.drop_path1(self.ls1(attended))
        r = merge_count(r, x.shape[1], protected)
        if r > 0:
            choice = choose(keys.float().mean(dim=1), r, protected)
            x, size = reduce(x, size, choice, protected)
            trace = None if trace is None else compose(trace, assignment(choice, protected))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x)))), size, trace


def attend(attn: Attention, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(d) + log size) v, with the softmax matrix `[batch, heads, tokens, tokens]` in memory.

    Args:
        attn: A timm `Attention`.
        x: Normalised tokens, `[batch, tokens, channels]`.
        size: Weight of each token as a key, float32 `[batch, tokens]`; None means equal weights.

    Returns:
        The attended tokens `[batch, tokens, channels]`, and the keys `[batch, heads, tokens, head_dim]`.
    """
    q, k, v = attn.qkv(x).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attn.q_norm(q), attn.k_norm(k)
    logits = (q * attn.scale) @ k.transpose(2, 3)
    if size is not None:
        logits = logits + size.log()[:, None, None, :].to(logits.dtype)
    y = attn.attn_drop(logits.softmax(dim=-1)) @ v
    y = attn.norm(y.transpose(1, 2).flatten(2))
    if getattr(attn, "gate", None) is not None:
        y = y * attn.gate(x).sigmoid()
    return attn.proj_drop(attn.proj(y)), k


class Choice(NamedTuple):
    """What merges with what; positions are within a set, A (even positions behind the prefix) or B (odd ones).

    Attributes:
        kept: A tokens that do not merge, ascending, `[batch, n_a - r]`.
        source: A tokens that merge, best first, `[batch, r]`.
        target: The B token that each of them merges into, `[batch, r]`.
        n_b: Tokens in set B.
    """

    kept: Tensor
    source: Tensor
    target: Tensor
    n_b: int


def choose(metric: Tensor, r: int, protected: int = 0) -> Choice:
    """Score every A token against every B token and take the `r` best proposals.

    Args:
        metric: What tokens are compared by, float32 `[batch, tokens, channels]`.
        r: Tokens to merge, at least 1 and at most half of the unprotected ones.
        protected: Prefix tokens that never merge.
    """
    a, b = _sets(protected)
    unit = F.normalize(metric.detach(), dim=-1)
    with torch.autocast(metric.device.type, enabled=False):
        scores = unit[:, a] @ unit[:, b].transpose(1, 2)  # [batch, n_a, n_b]
    best, partner = scores.max(dim=-1)
    ranked = best.argsort(dim=-1, descending=True, stable=True)
    source = ranked[:, :r]
    return Choice(ranked[:, r:].sort(dim=-1).values, source, partner.gather(1, source), scores.shape[2])


def reduce(x: Tensor, size: Tensor | None, choice: Choice, protected: int = 0) -> tuple[Tensor, Tensor]:
    """Split the tokens into their sets, gather the sources, scatter them into their partners, join what is left.

    Args:
        x: Tokens, `[batch, tokens, channels]`.
        size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
        choice: From `choose`.
        protected: Prefix tokens that never merge.

    Returns:
        Merged tokens `[batch, tokens - r, channels]` and their sizes, float32 `[batch, tokens - r]`.
    """
    if size is None:
        size = torch.ones(x.shape[:2], dtype=torch.float32, device=x.device)
    a, b = _sets(protected)
    x_a, x_b, size_a, size_b = x[:, a], x[:, b], size[:, a], size[:, b]
    own = size_a.gather(1, choice.source)
    total = size_b.scatter_add(1, choice.target, own)
    arriving = _rows(x_a, choice.source) * (own / total.gather(1, choice.target)).unsqueeze(-1).to(x.dtype)
    staying = x_b * (size_b / total).unsqueeze(-1).to(x.dtype)
    merged = staying.scatter_add(1, choice.target.unsqueeze(-1).expand_as(arriving), arriving)
    tokens = torch.cat([x[:, :protected], _rows(x_a, choice.kept), merged], dim=1)
    return tokens, torch.cat([size[:, :protected], size_a.gather(1, choice.kept), total], dim=1)


def assignment(choice: Choice, protected: int = 0) -> Tensor:
    """The outgoing index of every incoming token, int64 `[batch, tokens]`."""
    batch, n_kept = choice.kept.shape
    n_front, n_a = protected + n_kept, n_kept + choice.source.shape[1]
    a, b = _sets(protected)
    outgoing = torch.arange(n_front + choice.n_b, device=choice.kept.device).expand(batch, -1)
    assign = outgoing.new_empty(batch, protected + n_a + choice.n_b)
    assign[:, :protected], assign[:, b] = outgoing[:, :protected], outgoing[:, n_front:]
    of_a = outgoing.new_empty(batch, n_a).scatter(1, choice.kept, outgoing[:, protected:n_front])
    assign[:, a] = of_a.scatter(1, choice.source, n_front + choice.target)
    return assign


def _sets(protected: int) -> tuple[slice, slice]:
    """Positions of A and B: even and odd ones behind the prefix."""
    odd = protected % 2
    return slice(protected + odd, None, 2), slice(protected + 1 - odd, None, 2)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[2]))
