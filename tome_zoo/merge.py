"""Token merging as one integer map.

A merge step is `assign`, `[batch, tokens]`: for every incoming token, the index of the outgoing token that it becomes.
`match` chooses the map, `merge` averages by it, `unmerge` copies back along it, `compose` follows tokens through
several. Any other reduction of tokens is another function that returns an `assign`. Tensors in, tensors out; no state.

Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, arXiv 2210.09461, section 3.
"""

import contextlib

import torch
from torch import Tensor
from torch.nn import functional as F


def merge_count(r: int, n_tokens: int, protected: int = 0) -> int:
    """Tokens that a step really merges: `r`, but at most half of the unprotected tokens.

    Args:
        r: Tokens to merge.
        n_tokens: Incoming tokens, the protected ones included.
        protected: Prefix tokens that never merge.
    """
    return max(0, min(r, (n_tokens - protected) // 2))


def match(metric: Tensor, r: int, protected: int = 0) -> Tensor:
    """Bipartite soft matching: each of the `r` best pairs of similar tokens becomes one token.

    Tokens at even positions (set A) propose to the most similar token at an odd position (set B); the `r` best
    proposals merge. The protected prefix is in neither set. Outgoing order: prefix, the kept A tokens, all B tokens,
    each in ascending position. Similarity is the cosine in float32, also under autocast; a zero vector is similar to
    nothing; ties go to the lower position.

    Args:
        metric: What tokens are compared by, `[batch, tokens, channels]`; in the transformer, keys averaged over heads.
        r: Tokens to merge; at most half of the unprotected tokens do.
        protected: Prefix tokens that never merge.

    Returns:
        `assign`, int64 `[batch, tokens]`, with values in `[0, tokens - merge_count(r, tokens, protected))`.
    """
    batch, n_tokens, _ = metric.shape
    device = metric.device
    r = merge_count(r, n_tokens, protected)
    if r == 0:
        return torch.arange(n_tokens, device=device).expand(batch, n_tokens)

    first_a = protected + protected % 2  # first even position behind the prefix
    first_b = protected + 1 - protected % 2  # first odd one
    unit = F.normalize(metric.detach().float(), dim=-1)
    a, b = unit[:, first_a::2], unit[:, first_b::2]
    n_a, n_b = a.shape[1], b.shape[1]

    with contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False):
        best, partner = (a @ b.transpose(-1, -2)).max(dim=-1)  # [batch, n_a] both
    ranked = best.argsort(dim=-1, descending=True, stable=True)
    merges = torch.zeros(batch, n_a, dtype=torch.bool, device=device).scatter(1, ranked[:, :r], True)

    b_slot = protected + n_a - r  # where set B begins in the outgoing order
    kept_slot = protected - 1 + (~merges).cumsum(dim=1)
    assign = torch.empty(batch, n_tokens, dtype=torch.int64, device=device)
    assign[:, :protected] = torch.arange(protected, device=device)
    assign[:, first_a::2] = torch.where(merges, b_slot + partner, kept_slot)
    assign[:, first_b::2] = b_slot + torch.arange(n_b, device=device)
    return assign


def merge(x: Tensor, size: Tensor | None, assign: Tensor, n_out: int) -> tuple[Tensor, Tensor]:
    """Average the tokens that share an outgoing index, weighted by how many original tokens each one holds.

    Computed in float32 or better with weights that sum to one, so nothing overflows and a token that merges with none
    is returned bit for bit.

    Args:
        x: Tokens, `[batch, tokens, channels]`, any floating dtype.
        size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
        assign: Outgoing index of each token, int64 `[batch, tokens]`.
        n_out: Outgoing tokens.

    Returns:
        Merged tokens `[batch, n_out, channels]` in the dtype of `x`, and their sizes, float32 `[batch, n_out]`.
    """
    batch, _, channels = x.shape
    if size is None:
        size = torch.ones(assign.shape, dtype=torch.float32, device=x.device)
    merged_size = size.new_zeros(batch, n_out).scatter_add(1, assign, size)
    weight = size / merged_size.gather(1, assign)
    rows = assign.unsqueeze(-1).expand_as(x)
    weighted = x.to(torch.promote_types(x.dtype, torch.float32)) * weight.unsqueeze(-1)
    merged = weighted.new_zeros(batch, n_out, channels).scatter_add(1, rows, weighted)
    return merged.to(x.dtype), merged_size


def unmerge(y: Tensor, assign: Tensor) -> Tensor:
    """Copy every outgoing token back to all positions that became it.

    Args:
        y: Outgoing tokens, `[batch, n_out, channels]`.
        assign: Map of one step, or a trace of several, `[batch, tokens]`.

    Returns:
        `[batch, tokens, channels]`.
    """
    return y.gather(1, assign.unsqueeze(-1).expand(-1, -1, y.shape[-1]))


def compose(trace: Tensor, assign: Tensor) -> Tensor:
    """Follow tokens one step further.

    Args:
        trace: Where each original token is now, int64 `[batch, original]`.
        assign: Map of the next step, `[batch, tokens]`.

    Returns:
        Where each original token is after that step, `[batch, original]`.
    """
    return assign.gather(1, trace)
