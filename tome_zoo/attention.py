"""Proportional attention on fused kernels: a token that holds `s` original tokens attracts as much as `s` tokens."""

import torch
from timm.layers import Attention
from torch import Tensor
from torch.nn import functional as F


def size_bias(size: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`log(size)` as an additive attention bias, `[batch, 1, 1, tokens]`; None when every token counts one.

    Added to the logits, it makes softmax(q k^T / sqrt(d) + log s): equal to attending to each token `s` times.

    Args:
        size: Original tokens in each token, float32 `[batch, tokens]`, or None.
        dtype: dtype of the queries, which the fused kernels want the bias to have.
    """
    return None if size is None else size.log()[:, None, None, :].to(dtype)


def attend(attn: Attention, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Self-attention with the parts of timm's `Attention`, weighted by token size.

    Args:
        attn: A timm `Attention`: its qkv, q/k norm, scaled norm, gate, projection and dropouts are used.
        x: Normalised tokens, `[batch, tokens, channels]`.
        size: Weight of each token as a key, float32 `[batch, tokens]`; None means equal weights.

    Returns:
        The attended tokens `[batch, tokens, channels]` and the keys averaged over heads, float32
        `[batch, tokens, head_dim]`, by which tokens are matched.
    """
    batch, n_tokens, _ = x.shape
    gate = attn.gate(x).sigmoid() if getattr(attn, "gate", None) is not None else None
    qkv = attn.qkv(x).reshape(batch, n_tokens, 3, attn.num_heads, attn.head_dim)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [batch, heads, tokens, head_dim] each
    q, k = attn.q_norm(q), attn.k_norm(k)
    dropout = attn.attn_drop.p if attn.training else 0.0
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=size_bias(size, q.dtype), dropout_p=dropout)
    y = attn.norm(y.transpose(1, 2).reshape(batch, n_tokens, -1))
    if gate is not None:
        y = y * gate
    return attn.proj_drop(attn.proj(y)), k.mean(dim=1, dtype=torch.float32)
