"""Attention on the CPU in bfloat16: scores of a few heads at a time, so that they stay in the cache.

torch's fused kernel widens bfloat16 to float32 piece by piece; plain matrix products run on the bfloat16 units of the
processor and are 1.4 to 2 times as fast, as long as the scores do not leave the cache. Scores and weights are rounded
to bfloat16, the softmax between them is computed in float32. Token sizes enter the product as channels of their own.
"""

import torch
from torch import Tensor

from tome_zoo.kernels.weighted import lengthen

CACHE = 2**22  # bytes of scores and weights at a time
LEAST = 2**17  # scores; below, the fused kernel's single call is as good
SHORT = 160  # keys; the softmax of fewer is faster by way of float32
NATIVE = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def worthwhile(q: Tensor, k: Tensor) -> bool:
    """Whether `attention` is the faster way: inference in bfloat16 on a CPU that multiplies it natively.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
    """
    suited = q.dtype == torch.bfloat16 and q.device.type == "cpu" and not (torch.is_grad_enabled() and q.requires_grad)
    if torch.compiler.is_compiling():  # one program for all sizes
        return suited and NATIVE
    return suited and NATIVE and q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] >= LEAST


def attention(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + log_size) v, for inference.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
        v: Values, as `k`.
        log_size: Added to the logits of each key, float32 `[batch, tokens]`; None adds nothing.

    Returns:
        `[batch, heads, queries, head_dim]`.
    """
    shape, n_keys = q.shape, k.shape[2]
    if log_size is not None:
        q, k = lengthen(q, k, log_size)
    q, k, v = (x.contiguous().flatten(0, 1) for x in (q, k, v))  # [batch * heads, tokens, channels]
    narrow = n_keys >= SHORT
    weights_dtype = q.dtype if narrow else torch.float32
    fitting = CACHE // (shape[2] * n_keys * (q.element_size() + weights_dtype.itemsize))
    scores = q.new_empty(max(1, min(fitting, len(q))), shape[2], n_keys)
    weights = torch.empty_like(scores, dtype=weights_dtype)
    out = q.new_empty(len(q), shape[2], shape[3])
    for first in range(0, len(q), len(scores)):
        some = slice(first, first + len(scores))
        here, weighted = (x[: len(q) - first] for x in (scores, weights))
        torch.baddbmm(here, q[some], k[some].transpose(1, 2), beta=0, alpha=shape[3] ** -0.5, out=here)
        torch.softmax(here, dim=-1, dtype=weights_dtype, out=weighted)
        torch.bmm(weighted if narrow else here.copy_(weighted), v[some], out=out[some])
    return out.view(shape)


@torch.library.custom_op("tome_zoo::attention_in_pieces", mutates_args=())
def compiled_attention(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    """`attention` as one operator, which torch.compile calls and does not look into."""
    return attention(q, k, v, log_size)


@compiled_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    return q.new_empty(q.shape)
