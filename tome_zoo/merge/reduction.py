"""What every reducer takes and gives: lazily computed inputs, and a reduction that is applied in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from tome_zoo.merge.maps import merge

Project = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class ReducerInputs:
    """What a reducer may look at; what costs something is computed when it is first asked for, and once.

    Attributes:
        x: Tokens after attention was added, `[batch, tokens, channels]`.
        before: Tokens that entered the block, as `x`.
        size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
        project: Gives queries, keys and values of this block's attention, `[batch, heads, tokens, head_dim]` each.
        keys: The keys alone, where they are at hand.
        by_size: Whether attention weighs keys by their size.
        class_token: Whether the first token is a class token.
        block: Number of the block, from 0.
        depth: Number of blocks.
    """

    x: Tensor
    before: Tensor
    size: Tensor | None
    project: Project
    keys: Tensor
    by_size: bool = False
    class_token: bool = True
    block: int = 0
    depth: int = 1

    @cached_property
    def queries_keys_values(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, float32 `[batch, heads, tokens, head_dim]` each."""
        q, k, v = self.project()
        return q.float(), k.float(), v.float()

    @cached_property
    def unit_keys(self) -> Tensor:
        """Keys averaged over heads, of length one (zeros stay zeros), float32 `[batch, tokens, head_dim]`."""
        return F.normalize(self.keys.detach().float().sum(dim=1), dim=-1)

    @cached_property
    def class_attention(self) -> Tensor:
        """How much the class token attends to each token, mean over heads, float32 `[batch, tokens]`."""
        return self._attention(slice(0, 1))[:, :, 0].mean(dim=1)

    @cached_property
    def received_attention(self) -> Tensor:
        """Attention that each token receives: summed over queries, mean over heads, float32 `[batch, tokens]`."""
        return self._attention(slice(None)).sum(dim=2).mean(dim=1)

    def _attention(self, rows: slice) -> Tensor:
        q, k, _ = self.queries_keys_values
        logits = q[:, :, rows] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if self.by_size and self.size is not None:
            logits = logits + self.size.log()[:, None, None, :]
        return logits.softmax(dim=-1)


@dataclass(frozen=True)
class Reduction:
    """A step that leaves fewer tokens.

    Attributes:
        assign: Outgoing index of each token, int64 `[batch, tokens]`. Dropped tokens have one too, of a survivor, so
            that tokens can be copied back and followed.
        n_out: Outgoing tokens.
        keep: Where tokens are dropped and none are averaged: position of each survivor, `[batch, n_out]`. The survivors
            keep their sizes, and nothing below is used.
        weight: Share of each token in the mean of its group, float32 `[batch, tokens]`; None takes the sizes.
        scale: Factor on each outgoing token, float32 `[batch, n_out]`; None means 1.
        size: Outgoing sizes, float32 `[batch, n_out]`; None means the sums.
        maximum: The largest value of each channel instead of the mean.
    """

    assign: Tensor
    n_out: int
    keep: Tensor | None = None
    weight: Tensor | None = None
    scale: Tensor | None = None
    size: Tensor | None = None
    maximum: bool = False


def apply_reduction(x: Tensor, size: Tensor | None, step: Reduction) -> tuple[Tensor, Tensor]:
    """Tokens and sizes behind a step.

    Args:
        x: Tokens, `[batch, tokens, channels]`.
        size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
        step: From a reducer.

    Returns:
        Tokens `[batch, n_out, channels]` in the dtype of `x`, and their sizes, float32 `[batch, n_out]`.
    """
    if size is None:
        size = torch.ones(step.assign.shape, dtype=torch.float32, device=x.device)
    if step.keep is not None:
        return x.gather(1, step.keep.unsqueeze(-1).expand(-1, -1, x.shape[-1])), size.gather(1, step.keep)
    sizes = step.size
    if sizes is None:
        sizes = size.new_zeros(x.shape[0], step.n_out).scatter_add(1, step.assign, size)
    if step.maximum:
        rows = step.assign.unsqueeze(-1).expand_as(x)
        merged = x.new_zeros(x.shape[0], step.n_out, x.shape[-1])
        return merged.scatter_reduce(1, rows, x, "amax", include_self=False), sizes
    merged, _ = merge(x, size if step.weight is None else step.weight, step.assign, step.n_out)
    if step.scale is not None:
        merged = (merged * step.scale.unsqueeze(-1)).to(x.dtype)
    return merged, sizes


def keep_positions(kept: Tensor, n_out: int, protected: int) -> Reduction:
    """Drop all other tokens; each dropped one is mapped to the survivor at the nearest position, the lower of two.

    Args:
        kept: bool `[batch, tokens]`, True for exactly `n_out` of every sample.
        n_out: Outgoing tokens.
        protected: Prefix tokens, which survive and to which none is mapped.
    """
    batch, n_tokens = kept.shape
    position = torch.arange(n_tokens, device=kept.device).expand(batch, -1)
    keep = position.masked_select(kept).view(batch, n_out)
    open_ = kept & (position >= protected)
    left = position.where(open_, position.new_tensor(-n_tokens)).cummax(dim=1).values
    right = position.where(open_, position.new_tensor(3 * n_tokens)).flip(1).cummin(dim=1).values.flip(1)
    nearest = torch.where(position - left <= right - position, left, right)
    nearest[:, :protected] = position[:, :protected]
    return Reduction((kept.cumsum(dim=1) - 1).gather(1, nearest), n_out, keep=keep)


def group_by_leader(leader: Tensor) -> Tensor:
    """The map of groups that stand at the position of their leaders, in ascending order.

    Args:
        leader: Position of the leader of each token, `[batch, tokens]`; a leader's own is itself.

    Returns:
        `assign`, int64 `[batch, tokens]`.
    """
    leads = leader == torch.arange(leader.shape[1], device=leader.device)
    return (leads.cumsum(dim=1) - 1).gather(1, leader)


def lowest_members(label: Tensor, n_labels: int) -> Tensor:
    """The lowest position with the same label, for each token.

    Args:
        label: int64 `[batch, tokens]`, below `n_labels`.
        n_labels: How many labels there are.
    """
    position = torch.arange(label.shape[1], device=label.device).expand_as(label)
    lowest = label.new_full((label.shape[0], n_labels), label.shape[1])
    return lowest.scatter_reduce(1, label, position, "amin").gather(1, label)
