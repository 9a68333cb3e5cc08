"""Attention on the CPU in bfloat16: scores of a few heads at a time, so that they stay in the cache.

torch's fused kernel widens bfloat16 to float32 piece by piece; plain matrix products run on the bfloat16 units of the
processor and are 1.4 to 1.8 times as fast, as long as the scores do not leave the cache. Scores are rounded to bfloat16
once, the softmax is computed in float32.
"""

import torch
from torch import Tensor

CACHE = 2**20  # bytes of scores at a time
LEAST = 2**16  # scores; below, the fused kernel's single call is as good
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


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + bias) v, for inference.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
        v: Values, as `k`.
        bias: Added to the logits of each key, `[batch, 1, 1, tokens]`; None adds nothing.

    Returns:
        `[batch, heads, queries, head_dim]`, laid out token by token.
    """
    batch, heads, n_queries, width = q.shape
    n_keys = k.shape[2]
    fitting = max(1, CACHE // (n_queries * n_keys * q.element_size()))  # heads, of any sample
    samples, some = max(1, fitting // heads), min(fitting, heads)
    out = q.new_empty(batch, n_queries, heads, width).transpose(1, 2)
    scores = q.new_empty(min(samples, batch) * some, n_queries, n_keys)
    weights = torch.empty_like(scores, dtype=torch.float32)
    bias = q.new_zeros(1, 1, 1, 1) if bias is None else bias
    for one in range(0, batch, samples):
        rows = slice(one, one + samples)
        bias_here = bias if bias.shape[0] == 1 else bias[rows]
        for head in range(0, heads, some):
            parts = [x[rows, head : head + some] for x in (q, k, v)]
            qs, ks, vs = (x.flatten(0, 1) for x in parts)  # [samples * heads, tokens, head_dim]
            shape = parts[0].shape
            spread = bias_here.expand(shape[0], shape[1], 1, bias.shape[3]).flatten(0, 1)
            here = scores[: len(qs)]  # [samples * heads, queries, tokens]
            torch.baddbmm(spread, qs, ks.transpose(1, 2), alpha=width**-0.5, out=here)
            here.copy_(torch.softmax(here, dim=-1, dtype=torch.float32, out=weights[: len(qs)]))
            out[rows, head : head + some] = torch.bmm(here, vs).view(shape)
    return out


@torch.library.custom_op("tome_zoo::attention_in_pieces", mutates_args=())
def compiled_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """`attention` as one operator, which torch.compile calls and does not look into."""
    return attention(q, k, v, bias)


@compiled_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    batch, heads, n_queries, width = q.shape
    return q.new_empty(batch, n_queries, heads, width).transpose(1, 2)
