"""A step of merging as one integer map.

`assign`, `[batch, tokens]`, holds for every incoming token the index of the outgoing token that it becomes. `merge`
averages by it, `unmerge` copies back along it, `compose` follows tokens through several steps. Tensors in, tensors out.
"""

import torch
from torch import Tensor


def merge_count(r: int, n_tokens: int, protected: int = 0) -> int:
    """Tokens that a step really merges: `r`, but at most half of the unprotected tokens.

    Args:
        r: Tokens to merge.
        n_tokens: Incoming tokens, the protected ones included.
        protected: Prefix tokens that never merge.
    """
    return max(0, min(r, (n_tokens - protected) // 2))


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
