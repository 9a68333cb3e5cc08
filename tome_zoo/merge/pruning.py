"""Reducers that drop tokens: at random, or those that little attention goes to.

The prefix always stays. Survivors keep their order and their sizes; a dropped token is mapped to the survivor at the
nearest position, which only `unmerge` and traces read.
"""

import torch
from torch import Tensor

from tome_zoo.merge.reduction import ReducerInputs, Reduction, keep_positions


def keep_highest(scores: Tensor, r: int, protected: int) -> Reduction:
    """Drop the `r` unprotected tokens of the lowest score; of equal ones the later.

    Args:
        scores: `[batch, tokens]`.
        r: Tokens to drop.
        protected: Prefix tokens.
    """
    n_tokens = scores.shape[1]
    ranked = scores[:, protected:].argsort(dim=1, descending=True, stable=True) + protected
    kept = torch.ones(scores.shape, dtype=torch.bool, device=scores.device)
    kept.scatter_(1, ranked[:, n_tokens - protected - r :], False)
    return keep_positions(kept, n_tokens - r, protected)


def random(inputs: ReducerInputs, r: int, protected: int, *, seed: int = 0) -> Reduction:
    """Drop `r` tokens drawn uniformly without replacement, for each sample and block anew.

    The draw depends on the seed, the block and the place of the sample in its batch alone, so that it can be repeated.

    Source: Bolya et al., ICLR 2023, table 2 (pruning, random).
    """
    return keep_highest(random_scores(inputs, seed), r, protected)


def random_scores(inputs: ReducerInputs, seed: int) -> Tensor:
    """A number in [0, 1) for every token, float32 `[batch, tokens]`."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + inputs.block)
    return torch.rand(inputs.x.shape[:2], generator=generator).to(inputs.x.device)


def attention(inputs: ReducerInputs, r: int, protected: int) -> Reduction:
    """Drop the `r` tokens that receive the least attention: a_j = sum over queries, mean over heads of A_ij.

    Source: Bolya et al., ICLR 2023, table 2 (pruning, attention-based), which leaves the definition open.
    """
    return keep_highest(inputs.received_attention, r, protected)


def topk(inputs: ReducerInputs, r: int, protected: int) -> Reduction:
    """Drop the `r` tokens that the class token attends to least: a_j = mean over heads of A[class, j].

    Source: Liang et al., "EViT", ICLR 2022, without the fused token.
    """
    return keep_highest(inputs.class_attention, r, protected)


def evit(inputs: ReducerInputs, r: int, protected: int) -> Reduction:
    """Keep the tokens that the class token attends to most, and add the others up in one: f = sum of a_j x_j, last.

    a_j = mean over heads of A[class, j], not normalised again, so that f is short. `r + 1` tokens become one, so that
    as many leave as from the other reducers. The fused token's size is the sum.

    Source: Liang et al., "EViT", ICLR 2022.
    """
    scores = inputs.class_attention
    n_tokens, n_out = scores.shape[1], scores.shape[1] - r
    fused = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    ranked = scores[:, protected:].argsort(dim=1, descending=True, stable=True) + protected
    fused.scatter_(1, ranked[:, n_tokens - protected - r - 1 :], True)
    assign = ((~fused).cumsum(dim=1) - 1).masked_fill(fused, n_out - 1)
    total = (scores * fused).sum(dim=1, keepdim=True)
    scale = torch.ones(scores.shape[0], n_out, device=scores.device)
    scale[:, -1:] = total
    share = torch.where(total > 0, scores, torch.ones_like(scores))  # all zero: any mean, times zero
    return Reduction(assign, n_out, weight=share.where(fused, torch.ones_like(share)), scale=scale)
