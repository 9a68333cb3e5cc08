"""Proportional attention: a token that holds `s` original tokens attracts as much as `s` tokens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from timm.layers import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.transformer.fast_path import Reads, why_not_fast_path
from tome_zoo.transformer.kernels import cpu_attention, gpu_attention
from tome_zoo.transformer.kernels.cpu_linear import linear_gelu


class MergingAttention(Attention):
    """timm's attention, which can also hand out the keys that it computes."""

    def forward(self, x: Tensor, *args: Any, keys: list[Tensor] | None = None, **kwargs: Any) -> Tensor:
        """timm's forward; `keys` takes the keys `[batch, heads, tokens, head_dim]`, normalised, as its one item."""
        if keys is None:
            return super().forward(x, *args, **kwargs)
        return Attention.forward(_KeyRecorder(self, keys), x, *args, **kwargs)


class _KeyRecorder:
    """Passes for an attention while timm's forward runs, and keeps what its `k_norm` returns."""

    def __init__(self, attn: Attention, keys: list[Tensor]) -> None:
        self.attn, self.keys = attn, keys

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attn, name)

    def k_norm(self, k: Tensor) -> Tensor:
        k = self.attn.k_norm(k)
        self.keys.append(k)
        return k


ATTENTION_READS = Reads(MergingAttention, ("qkv", "proj"))


def attend(attn: Any, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Self-attention weighted by token size: on the fast path where it is open, else by calling the module.

    Args:
        attn: timm's `Attention`, or what has been put in its place.
        x: Normalised tokens, `[batch, tokens, channels]`.
        size: Weight of each token as a key, float32 `[batch, tokens]`; None means equal weights.

    Returns:
        The attended tokens `[batch, tokens, channels]`, and the keys `[batch, heads, tokens, head_dim]`.
    """
    if why_not_fast_path(attn, ATTENTION_READS, x):
        return call_attention(attn, x, size)
    return read_attention(attn, x, size)


def read_attention(
    attn: MergingAttention, x: Tensor, size: Tensor | None, n_queries: int | None = None
) -> tuple[Tensor, Tensor]:
    """The fast path of `attend`: weights read, our own choice of kernel.

    Args:
        attn: Its qkv, q/k norm, scaled norm, gate, projection and dropouts are used.
        x: Normalised tokens, `[batch, tokens, channels]`.
        size: Weight of each token as a key, float32 `[batch, tokens]`; None means equal weights.
        n_queries: Attend from that many leading tokens only; None means from all.

    Returns:
        The attended tokens `[batch, n_queries, channels]`, and the keys `[batch, heads, tokens, head_dim]`.
    """
    queries = x if n_queries is None else x[:, :n_queries]
    gate = attn.gate(queries).sigmoid() if getattr(attn, "gate", None) is not None else None
    q, k, v = _project(attn, x, n_queries)
    q, k = attn.q_norm(q), attn.k_norm(k)
    y = weighted_attention(q, k, v, size, attn.attn_drop.p if attn.training else 0.0)
    y = attn.norm(rearrange(y, "b h n d -> b n (h d)"))
    if gate is not None:
        y = y * gate
    return attn.proj_drop(linear_gelu(y, attn.proj.weight, attn.proj.bias)), k


def call_attention(attn: Any, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
    """`attend` by calling the module; keys are those that it computed, or else its key projection once more."""
    mask, keys = size_bias(size, x.dtype), list[Tensor]()
    if isinstance(attn, MergingAttention) and "forward" not in attn.__dict__:
        return attn(x, attn_mask=mask, keys=keys), keys[0]
    with _outputs_of(attn, ("k_norm", "qkv")) as seen:
        y = attn(x, attn_mask=mask)
    if "k_norm" in seen:
        return y, seen["k_norm"]
    if not isinstance(getattr(attn, "qkv", None), nn.Module):
        raise UnsupportedModelError(
            f"cannot merge by the keys of {type(attn).__name__}: expected an attention with a layer `qkv`, as timm's"
        )
    with torch.no_grad():
        qkv = seen["qkv"] if "qkv" in seen else attn.qkv(x)
        return y, attn.k_norm(_split_heads(qkv, attn.num_heads)[1])


@contextmanager
def _outputs_of(module: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """What parts of a module return while this thread is inside."""
    seen, thread = dict[str, Tensor](), threading.get_ident()

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            if threading.get_ident() == thread:
                seen[name] = output

        return hook

    parts = {name: getattr(module, name, None) for name in names}
    handles = [part.register_forward_hook(keep(name)) for name, part in parts.items() if isinstance(part, nn.Module)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def size_bias(size: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`log(size)` as an additive attention bias, `[batch, 1, 1, tokens]`; None when every token counts one.

    Added to the logits, it makes softmax(q k^T / sqrt(d) + log s): equal to attending to each token `s` times.

    Args:
        size: Original tokens in each token, float32 `[batch, tokens]`, or None.
        dtype: dtype of the queries, which the fused kernels want the bias to have.
    """
    return None if size is None else rearrange(size.log(), "b n -> b 1 1 n").to(dtype)


def choose_kernel(
    device: torch.device,
    dtype: torch.dtype,
    *,
    by_size: bool,
    dropout: bool = False,
    gradients: bool = False,
    n_scores: int | None = None,
) -> str:
    """The attention kernel of the fast path, by name. This is the only place that chooses.

    "chunked" is our own for bfloat16 on CPUs; "fused" is torch's, where "masked" and "extra channels" say how token
    sizes enter: flash attention on GPUs takes no mask and exists for 16 bits only.
    `python -m tome_zoo.benchmark.kernels` times the forms on the GPU at hand.

    Args:
        device: Where queries and keys lie.
        dtype: What they are computed in.
        by_size: Whether attention weighs tokens by their size.
        dropout: Whether attention weights are dropped.
        gradients: Whether a backward pass follows.
        n_scores: batch x heads x queries x keys; None where that is not known.
    """
    if device.type == "cpu" and dtype == torch.bfloat16 and cpu_attention.BF16_IS_NATIVE:
        enough = n_scores is None or n_scores >= cpu_attention.MIN_SCORES
        if enough and not dropout and not gradients:
            return "chunked"
    if not by_size:
        return "fused"
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16) and not dropout:
        return "fused, extra channels"
    return "fused, masked"


def weighted_attention(q: Tensor, k: Tensor, v: Tensor, size: Tensor | None, dropout_p: float = 0.0) -> Tensor:
    """Attention in which every key counts `size` times, by the kernel of `choose_kernel`.

    Args:
        q: Queries, `[batch, heads, queries, head_dim]`.
        k: Keys, `[batch, heads, tokens, head_dim]`.
        v: Values, as `k`.
        size: Weight of each key, float32 `[batch, tokens]`; None means equal weights.
        dropout_p: Dropout of the attention weights.

    Returns:
        `[batch, heads, queries, head_dim]`.
    """
    compiling = torch.compiler.is_compiling()  # one program serves all sizes
    kernel = choose_kernel(
        q.device,
        q.dtype,
        by_size=size is not None,
        dropout=dropout_p > 0,
        gradients=torch.is_grad_enabled() and q.requires_grad,
        n_scores=None if compiling else q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2],
    )
    if kernel == "chunked":
        chunked = cpu_attention.chunked_attention_op if compiling else cpu_attention.chunked_attention
        return chunked(q, k, v, None if size is None else size.log())
    if kernel == "fused, extra channels" and size is not None:
        return gpu_attention.extra_channels(q, k, v, size.log())
    return F.scaled_dot_product_attention(q, k, v, attn_mask=size_bias(size, q.dtype), dropout_p=dropout_p)


def mean_keys(k: Tensor) -> Tensor:
    """What tokens are matched by: keys `[batch, heads, tokens, head_dim]` -> float32 `[batch, tokens, head_dim]`.

    Their sum over the heads, in fact: similarity is a cosine, which has no use for the length.
    """
    return k.float().sum(dim=1)


@torch.no_grad()
def project(attn: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values once more, `[batch, heads, tokens, head_dim]` each, by calling the layers.

    Args:
        attn: timm's `Attention`.
        x: Normalised tokens, `[batch, tokens, channels]`.
    """
    q, k, v = _split_heads(attn.qkv(x), attn.num_heads)
    return attn.q_norm(q), attn.k_norm(k), v


def _split_heads(qkv: Tensor, heads: int, parts: int = 3) -> tuple[Tensor, ...]:
    """Each of the parts `[batch, heads, tokens, head_dim]` of a joint projection."""
    return rearrange(qkv, "b n (parts h d) -> parts b h n d", parts=parts, h=heads).unbind(0)


def _project(attn: MergingAttention, x: Tensor, n_queries: int | None) -> tuple[Tensor, ...]:
    """Queries, keys and values of one linear layer; with `n_queries` no more queries than asked for."""
    weight, bias = attn.qkv.weight, attn.qkv.bias
    if n_queries is None:
        return _split_heads(linear_gelu(x, weight, bias), attn.num_heads)
    width = attn.num_heads * attn.head_dim
    q = linear_gelu(x[:, :n_queries], weight[:width], None if bias is None else bias[:width])
    kv = linear_gelu(x, weight[width:], None if bias is None else bias[width:])
    return *_split_heads(q, attn.num_heads, 1), *_split_heads(kv, attn.num_heads, 2)
