"""Proportional attention on a GPU without giving up its fused kernels: three forms of the same sum.

Flash attention takes no mask. The size of a key can go in as two more channels instead, `extra_channels`; `masked` adds
it as a bias, for which torch takes its memory-efficient kernel; `flex` lets torch compile a kernel with the bias.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

HEAD_DIM_MULTIPLE = 8  # fused kernels take head dimensions that are multiples of it


def masked(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor) -> Tensor:
    """Attention with `log_size` added to the logits of each key.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
        v: Values, as `k`.
        log_size: float32 `[batch, tokens]`.

    Returns:
        `[batch, heads, queries, head_dim]`.
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=log_size[:, None, None, :].to(q.dtype))


def append_size_channels(q: Tensor, k: Tensor, log_size: Tensor, pad: int = 0) -> tuple[Tensor, Tensor]:
    """Queries and keys with two more channels, whose product is sqrt(head_dim) `log_size`, and `pad` channels of zeros.

    The constant in the query is a power of two near sqrt(head_dim), so that it is exact in every dtype, and the log
    size in the key is split into a rounded part and its remainder, so that what is left of the rounding of bfloat16 is
    2^-16 of it.
    """
    width = q.shape[-1]
    constant = 2.0 ** round(math.log2(math.sqrt(width)))
    exact = (log_size * (math.sqrt(width) / constant))[:, None, :, None]  # [batch, 1, tokens, 1], float32
    rounded = exact.to(k.dtype)
    bias = torch.cat([rounded, (exact - rounded.float()).to(k.dtype)], dim=-1).expand(-1, k.shape[1], -1, -1)
    longer_q = torch.cat([q, q.new_full((*q.shape[:-1], 2), constant), q.new_zeros(*q.shape[:-1], pad)], dim=-1)
    return longer_q, torch.cat([k, bias, k.new_zeros(*k.shape[:-1], pad)], dim=-1)


def extra_channels(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor) -> Tensor:
    """As `masked`, with the bias as part of the scalar product: constant in the query, log size in the key."""
    width = q.shape[-1]
    pad = -(width + 2) % HEAD_DIM_MULTIPLE
    longer_q, longer_k = append_size_channels(q, k, log_size, pad)
    return F.scaled_dot_product_attention(longer_q, longer_k, F.pad(v, (0, 2 + pad)), scale=width**-0.5)[..., :width]


def flex(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor) -> Tensor:
    """As `masked`, by FlexAttention; fast only where it is compiled, as it is inside a compiled model."""
    from torch.nn.attention.flex_attention import flex_attention

    def weigh(score: Tensor, sample: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + log_size[sample, key]

    return flex_attention(q, k, v, score_mod=weigh)


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "extra channels": extra_channels,
    "masked": masked,
    "flex": flex,
}
