"""Attention on the CPU in bfloat16: scores of a few heads or queries at a time, so that they stay in the cache.

torch's fused kernel widens bfloat16 to float32 piece by piece; plain matrix products run on the bfloat16 units of the
processor and are 1.2 to 2 times as fast, as long as the scores do not leave the cache. Scores and weights are rounded
to bfloat16, the softmax between them is computed in float32. Token sizes enter the product as channels of their own.
"""

from itertools import product

import torch
from torch import Tensor

from tome_zoo.transformer.kernels.gpu_attention import lengthen

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
    batch, heads, n_queries, width = q.shape
    n_keys = k.shape[2]
    narrow = n_keys >= SHORT
    weights_dtype = q.dtype if narrow else torch.float32
    bytes_a_query = n_keys * (q.element_size() + weights_dtype.itemsize)
    fitting = max(1, CACHE // (bytes_a_query * n_queries))  # heads, of any sample
    samples = min(batch, max(1, fitting // heads))
    some = min(fitting, samples * heads)
    rows = min(n_queries, max(1, CACHE // (bytes_a_query * some)))  # all queries, or some of one head
    scores = q.new_empty(some, rows, n_keys)
    weights = torch.empty_like(scores, dtype=weights_dtype)
    out = q.new_empty(q.shape)
    for one in range(0, batch, samples):
        here = slice(one, one + samples)
        qs, ks, vs = q[here], k[here], v[here]
        if log_size is not None:
            qs, ks = lengthen(qs, ks, log_size[here])
        qs, ks, vs = (x.contiguous().flatten(0, 1) for x in (qs, ks, vs))  # [samples * heads, tokens, channels]
        ys = out[here].flatten(0, 1)
        for head, row in product(range(0, len(qs), some), range(0, n_queries, rows)):
            part, asking = slice(head, head + some), slice(row, row + rows)
            s, w = (x[: len(qs) - head, : n_queries - row] for x in (scores, weights))
            torch.baddbmm(s, qs[part, asking], ks[part].transpose(1, 2), beta=0, alpha=width**-0.5, out=s)
            torch.softmax(s, dim=-1, dtype=weights_dtype, out=w)
            torch.bmm(w if narrow else s.copy_(w), vs[part], out=ys[part, asking])
    return out


@torch.library.custom_op("tome_zoo::attention_in_pieces", mutates_args=())
def compiled_attention(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    """`attention` as one operator, which torch.compile calls and does not look into."""
    return attention(q, k, v, log_size)


@compiled_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    return q.new_empty(q.shape)
