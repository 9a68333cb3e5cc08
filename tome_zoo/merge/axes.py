"""Bipartite matching with every choice of the paper open: feature, distance, heads, combination, partition.

The defaults are the rules of `bipartite.pair`, which the transformer runs by a shorter way.

Source: Bolya et al., ICLR 2023, section 3 and table 1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tome_zoo.merge.pruning import random_scores
from tome_zoo.merge.reduction import ReducerInputs, Reduction

Feature = Literal["k", "q", "v", "x", "x_pre"]
Distance = Literal["cosine", "euclidean", "dot", "softmax"]
Heads = Literal["mean", "concat"]
Combine = Literal["weighted", "mean", "max", "keep_one"]
Partition = Literal["alternating", "sequential", "random"]


@dataclass(frozen=True)
class Matched:
    """A matching of set A to set B.

    Attributes:
        kept: Positions of the A tokens that stay, ascending, `[batch, kept]`.
        source: Positions of those that merge, best first, `[batch, r]`.
        target: Position of the B token of each source, `[batch, r]`.
        set_b: Positions of the B tokens, ascending, `[batch, n_b]`.
    """

    kept: Tensor
    source: Tensor
    target: Tensor
    set_b: Tensor

    def assign(self, protected: int) -> tuple[Tensor, Tensor]:
        """(`assign`, positions of the outgoing tokens): prefix, kept A tokens, B tokens."""
        batch = self.kept.shape[0]
        prefix = torch.arange(protected, device=self.kept.device).expand(batch, -1)
        leading = torch.cat([prefix, self.kept, self.set_b], dim=1)
        n_out = leading.shape[1]
        outgoing = torch.arange(n_out, device=leading.device).expand(batch, -1)
        assign = leading.new_empty(batch, n_out + self.source.shape[1]).scatter(1, leading, outgoing)
        return assign.scatter(1, self.source, assign.gather(1, self.target)), leading


def features(inputs: ReducerInputs, feature: Feature, heads: Heads) -> Tensor:
    """What tokens are compared by, float32 `[batch, tokens, channels]`.

    Args:
        inputs: Of the block.
        feature: Keys, queries, values, tokens behind attention (x), or tokens that entered the block (x_pre).
        heads: Mean over heads, or heads side by side; of k, q and v only.
    """
    if feature in ("x", "x_pre"):
        return (inputs.x if feature == "x" else inputs.before).detach().float()
    if feature == "k":
        metric = inputs.keys.float()
    else:
        q, _, v = inputs.queries_keys_values
        metric = q if feature == "q" else v
    return metric.detach().mean(dim=1) if heads == "mean" else metric.detach().transpose(1, 2).flatten(2)


def scores(a: Tensor, b: Tensor, distance: Distance) -> Tensor:
    """How well tokens fit, the higher the better, `[batch, n_a, n_b]`; "softmax" runs over B, unscaled."""
    if distance == "euclidean":
        return -torch.cdist(a, b)
    if distance == "cosine":
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    products = a @ b.transpose(-1, -2)
    return products.softmax(dim=-1) if distance == "softmax" else products


def partition_positions(
    inputs: ReducerInputs, protected: int, partition: Partition, seed: int
) -> tuple[Tensor, Tensor]:
    """Positions of sets A and B, ascending, `[batch, n_a]` and `[batch, n_b]`.

    Alternating: A at even absolute positions. Sequential: A is the first half. Random: half of the tokens, drawn anew
    for each sample and block.
    """
    batch, n_tokens, _ = inputs.x.shape
    position = torch.arange(protected, n_tokens, device=inputs.x.device)
    if partition == "alternating":
        return position[position % 2 == 0].expand(batch, -1), position[position % 2 == 1].expand(batch, -1)
    half = (n_tokens - protected) // 2
    if partition == "sequential":
        return position[:half].expand(batch, -1), position[half:].expand(batch, -1)
    order = random_scores(inputs, seed)[:, protected:].argsort(dim=1, stable=True) + protected
    return order[:, :half].sort(dim=1).values, order[:, half:].sort(dim=1).values


def match_sets(metric: Tensor, set_a: Tensor, set_b: Tensor, r: int, distance: Distance = "cosine") -> Matched:
    """Each A token proposes its best B token; the `r` best proposals merge.

    Args:
        metric: float32 `[batch, tokens, channels]`.
        set_a: Positions, `[batch, n_a]`.
        set_b: Positions, `[batch, n_b]`.
        r: Pairs to take.
        distance: How two tokens are compared.
    """
    a, b = (metric.gather(1, index.unsqueeze(-1).expand(-1, -1, metric.shape[-1])) for index in (set_a, set_b))
    best, partner = scores(a, b, distance).max(dim=-1)
    ranked = best.argsort(dim=-1, descending=True, stable=True)
    merging, staying = ranked[:, :r], ranked[:, r:].sort(dim=-1).values
    target = set_b.gather(1, partner.gather(1, merging))
    return Matched(set_a.gather(1, staying), set_a.gather(1, merging), target, set_b)


def bipartite(
    inputs: ReducerInputs,
    r: int,
    protected: int,
    *,
    feature: Feature = "k",
    distance: Distance = "cosine",
    heads: Heads = "mean",
    combine: Combine = "weighted",
    partition: Partition = "alternating",
    seed: int = 0,
) -> Reduction:
    """Bipartite soft matching: A tokens propose to B tokens, the `r` best pairs become one token each.

    "weighted" averages by size, "mean" without, "max" takes the largest value of each channel, all with summed sizes;
    "keep_one" keeps the B token with its own size.

    Source: Bolya et al., ICLR 2023.
    """
    set_a, set_b = partition_positions(inputs, protected, partition, seed)
    found = match_sets(features(inputs, feature, heads), set_a, set_b, r, distance)
    assign, leading = found.assign(protected)
    n_out = leading.shape[1]
    if combine == "keep_one":
        return Reduction(assign, n_out, keep=leading)
    weight = torch.ones_like(assign, dtype=torch.float32) if combine == "mean" else None
    return Reduction(assign, n_out, weight=weight, maximum=combine == "max")
