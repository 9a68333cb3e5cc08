"""Proportional attention on fast kernels: a token that holds `s` original tokens attracts as much as `s` tokens."""

import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from tome_zoo.transformer.kernels import cpu_attention, gpu_attention
from tome_zoo.transformer.kernels.cpu_linear import linear, plain, product


def size_bias(size: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`log(size)` as an additive attention bias, `[batch, 1, 1, tokens]`; None when every token counts one.

    Added to the logits, it makes softmax(q k^T / sqrt(d) + log s): equal to attending to each token `s` times.

    Args:
        size: Original tokens in each token, float32 `[batch, tokens]`, or None.
        dtype: dtype of the queries, which the fused kernels want the bias to have.
    """
    return None if size is None else size.log()[:, None, None, :].to(dtype)


def attend(
    attn: Attention, x: Tensor, size: Tensor | None = None, n_queries: int | None = None
) -> tuple[Tensor, Tensor]:
    """Self-attention with the parts of timm's `Attention`, weighted by token size.

    Args:
        attn: A timm `Attention`: its qkv, q/k norm, scaled norm, gate, projection and dropouts are used.
        x: Normalised tokens, `[batch, tokens, channels]`.
        size: Weight of each token as a key, float32 `[batch, tokens]`; None means equal weights.
        n_queries: Attend from that many leading tokens only; None means from all.

    Returns:
        The attended tokens `[batch, n_queries, channels]`, and the keys `[batch, heads, tokens, head_dim]`.
    """
    asking = x if n_queries is None else x[:, :n_queries]
    gate = attn.gate(asking).sigmoid() if getattr(attn, "gate", None) is not None else None
    q, k, v = _project(attn, x, n_queries)  # [batch, heads, tokens, head_dim] each
    q, k = attn.q_norm(q), attn.k_norm(k)
    y = weighted_attention(q, k, v, size, attn.attn_drop.p if attn.training else 0.0)
    y = attn.norm(y.transpose(1, 2).reshape(asking.shape[0], asking.shape[1], -1))
    if gate is not None:
        y = y * gate
    return attn.proj_drop(linear(attn.proj, y)), k


def weighted_attention(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None, dropout_p: float = 0.0) -> Tensor:
    """Attention in which every key counts `size` times, by the kernel that `kernel_name` names.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
        v: Values, as `k`.
        size: Weight of each key, float32 `[batch, tokens]`; None means equal weights.
        dropout_p: Dropout of the attention weights.

    Returns:
        `[batch, heads, queries, head_dim]`.
    """
    if size is not None and q.is_cuda and dropout_p == 0.0:
        return gpu_attention.FORMS[gpu_attention.choose(q.dtype)](q, k, v, size.log())
    if dropout_p == 0.0 and cpu_attention.worthwhile(q, k):
        in_pieces = cpu_attention.compiled_attention if torch.compiler.is_compiling() else cpu_attention.attention
        return in_pieces(q, k, v, None if size is None else size.log())
    return F.scaled_dot_product_attention(q, k, v, attn_mask=size_bias(size, q.dtype), dropout_p=dropout_p)


def kernel_name(device: torch.device, dtype: torch.dtype, by_size: bool) -> str:
    """The attention kernel that inference takes there, for results and benchmarks.

    Args:
        device: Where the model lies.
        dtype: What it computes in.
        by_size: Whether attention weighs tokens by their size.
    """
    if device.type == "cpu" and dtype == torch.bfloat16 and cpu_attention.NATIVE:
        return "in pieces"
    if not by_size:
        return "fused"
    return f"fused, {gpu_attention.choose(dtype)}" if device.type == "cuda" else "fused, masked"


def mean_keys(k: Tensor) -> Tensor:
    """What tokens are matched by: keys `[batch, heads, tokens, head_dim]` -> float32 `[batch, tokens, head_dim]`.

    Their sum over the heads, in fact: similarity is a cosine, which has no use for the length.
    """
    return k.float().sum(dim=1)


def _project(attn: Attention, x: Tensor, n_queries: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one linear layer; with `n_queries` no more queries than asked for."""
    batch, n_tokens, _ = x.shape
    heads = (attn.num_heads, attn.head_dim)
    if n_queries is None or not plain(attn.qkv, nn.Linear):
        q, k, v = linear(attn.qkv, x).reshape(batch, n_tokens, 3, *heads).permute(2, 0, 3, 1, 4).unbind(0)
        return (q if n_queries is None else q[:, :, :n_queries]), k, v
    width = attn.num_heads * attn.head_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    q = product(x[:, :n_queries], weight[:width], None if bias is None else bias[:width])
    kv = product(x, weight[width:], None if bias is None else bias[width:])
    k, v = kv.reshape(batch, n_tokens, 2, *heads).permute(2, 0, 3, 1, 4).unbind(0)
    return q.reshape(batch, n_queries, *heads).transpose(1, 2), k, v
