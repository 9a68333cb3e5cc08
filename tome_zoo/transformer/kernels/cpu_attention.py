"""Attention on the CPU in bfloat16: scores of a few heads or queries at a time, so that they stay in the cache.

torch's fused kernel widens bfloat16 to float32 piece by piece; plain matrix products run on the bfloat16 units of the
processor and are 1.2 to 2 times as fast, as long as the scores do not leave the cache. Scores and weights are rounded
to bfloat16, the softmax between them is computed in float32. Token sizes enter the product as channels of their own.
"""

from itertools import product

import torch
from einops import rearrange
from torch import Tensor

from tome_zoo.transformer.kernels.gpu_attention import append_size_channels

CACHE_BYTES = 2**22  # of scores and weights at a time
MIN_SCORES = 2**17  # with fewer, the fused kernel's single call is as fast
MIN_KEYS_BF16 = 160  # with fewer keys a softmax is faster by way of float32


def _bf16_is_native() -> bool:
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # private: another torch may lack it
    return torch.backends.mkldnn.is_available() and supported is not None and bool(supported())


BF16_IS_NATIVE = _bf16_is_native()


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + log_size) v, for inference.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
        v: Values, as `k`.
        log_size: Added to the logits of each key, float32 `[batch, tokens]`; None adds nothing.

    Returns:
        `[batch, heads, queries, head_dim]`.
    """
    batch, heads, n_queries, head_dim = q.shape
    n_keys = k.shape[2]
    bf16_softmax = n_keys >= MIN_KEYS_BF16
    weights_dtype = q.dtype if bf16_softmax else torch.float32
    bytes_per_query = n_keys * (q.element_size() + weights_dtype.itemsize)
    heads_that_fit = max(1, CACHE_BYTES // (bytes_per_query * n_queries))  # heads of any sample
    samples = min(batch, max(1, heads_that_fit // heads))
    n_heads = min(heads_that_fit, samples * heads)
    n_rows = min(n_queries, max(1, CACHE_BYTES // (bytes_per_query * n_heads)))  # all queries, or some of one head
    scores = q.new_empty(n_heads, n_rows, n_keys)
    weights = torch.empty_like(scores, dtype=weights_dtype)
    out = q.new_empty(q.shape)
    for first in range(0, batch, samples):
        chunk = slice(first, first + samples)
        qs, ks, vs = q[chunk], k[chunk], v[chunk]
        if log_size is not None:
            qs, ks = append_size_channels(qs, ks, log_size[chunk])
        qs, ks, vs = (rearrange(x.contiguous(), "b h n d -> (b h) n d") for x in (qs, ks, vs))
        ys = out[chunk].flatten(0, 1)  # a view of `out`
        for head, row in product(range(0, len(qs), n_heads), range(0, n_queries, n_rows)):
            part, queries = slice(head, head + n_heads), slice(row, row + n_rows)
            s, w = (x[: len(qs) - head, : n_queries - row] for x in (scores, weights))
            torch.baddbmm(s, qs[part, queries], ks[part].transpose(1, 2), beta=0, alpha=head_dim**-0.5, out=s)
            torch.softmax(s, dim=-1, dtype=weights_dtype, out=w)
            torch.bmm(w if bf16_softmax else s.copy_(w), vs[part], out=ys[part, queries])
    return out


@torch.library.custom_op("tome_zoo::chunked_attention", mutates_args=())
def chunked_attention_op(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    """`chunked_attention` as one operator, which torch.compile calls and does not look into."""
    return chunked_attention(q, k, v, log_size)


@chunked_attention_op.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, log_size: Tensor | None) -> Tensor:
    return q.new_empty(q.shape)
