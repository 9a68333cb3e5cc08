"""Reducers that both drop and merge: Token Fusion, DiffRate's, and PiToMe, which spares the rare tokens."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tome_zoo.merge.axes import match_sets, partition_positions
from tome_zoo.merge.reduction import ReducerInputs, Reduction, group_by_leader


def tofu(inputs: ReducerInputs, r: int, protected: int, *, early: float = 0.5) -> Reduction:
    """Bipartite matching; the first `early` share of the blocks drops the A tokens, the others merge by MLERP.

    MLERP: x = mean(x_i) max |x_i| / |mean(x_i)| over a B token and its sources, unweighted; a mean of length zero
    stays. Dropped tokens are mapped to their B tokens; sizes stay where tokens are dropped and add up elsewhere.

    Source: Kim et al., "Token Fusion", WACV 2024, arXiv 2312.01026. Where "early" ends is a setting: it is not known.
    """
    set_a, set_b = partition_positions(inputs, protected, "alternating", 0)
    assign, leading = match_sets(inputs.unit_keys, set_a, set_b, r).assign(protected)
    n_out = leading.shape[1]
    if inputs.block < early * inputs.depth:
        return Reduction(assign, n_out, keep=leading)
    x = inputs.x.float()
    count = x.new_zeros(x.shape[0], n_out).scatter_add(1, assign, torch.ones_like(assign, dtype=x.dtype))
    rows = assign.unsqueeze(-1).expand_as(x)
    mean = x.new_zeros(x.shape[0], n_out, x.shape[2]).scatter_add(1, rows, x) / count.unsqueeze(-1)
    longest = x.new_zeros(x.shape[0], n_out).scatter_reduce(1, assign, x.norm(dim=-1), "amax")
    length = mean.norm(dim=-1)
    scale = torch.where((count > 1) & (length > 0), longest / length.clamp_min(torch.finfo(x.dtype).tiny), 1.0)
    return Reduction(assign, n_out, weight=torch.ones_like(assign, dtype=torch.float32), scale=scale)


def importance(inputs: ReducerInputs, r: int, protected: int, *, pruned: float = 1 / 3) -> Reduction:
    """Order tokens by the class token's attention; drop the last, then each of the next joins a more important one.

    Of the `r` tokens the share `pruned`, rounded down, is dropped; each of the others joins the staying token of
    largest cosine of x (behind attention). Plain mean; sizes: s + sum over the arrivals of s_i max(0, cos_i). Dropped
    tokens are mapped like the others and count nothing.

    Source: Chen et al., "DiffRate", ICCV 2023, whose counts a block are searched by training; here they follow from r.
    """
    batch, n_tokens, _ = inputs.x.shape
    n_out, n_pruned = n_tokens - r, int(r * pruned)
    ranked = inputs.class_attention[:, protected:].argsort(dim=1, descending=True, stable=True) + protected
    n_stay = n_tokens - protected - r
    stay, leave = ranked[:, :n_stay].sort(dim=1).values, ranked[:, n_stay:]
    unit = F.normalize(inputs.x.detach().float(), dim=-1)
    best, partner = (_rows(unit, leave) @ _rows(unit, stay).transpose(-1, -2)).max(dim=-1)
    position = torch.arange(n_tokens, device=stay.device).repeat(batch, 1)
    assign = group_by_leader(position.scatter(1, leave, stay.gather(1, partner)))
    joins = torch.arange(r, device=stay.device) < r - n_pruned  # `leave` runs from more to less important
    weight = torch.ones(batch, n_tokens, device=stay.device).scatter(1, leave, joins.float().expand(batch, -1))
    size = torch.ones_like(weight) if inputs.size is None else inputs.size
    counted = size.scatter(1, leave, size.gather(1, leave) * best.clamp(min=0) * joins)
    sizes = size.new_zeros(batch, n_out).scatter_add(1, assign, counted)
    return Reduction(assign, n_out, weight=weight, size=sizes)


def pitome(
    inputs: ReducerInputs,
    r: int,
    protected: int,
    *,
    margin: float = 0.75,
    first: Literal["splitting", "selecting"] = "splitting",
) -> Reduction:
    """Merge where many tokens are alike; tokens of low energy are spared.

    Energy: E_i = mean over j of elu(cos_ij - m), m = margin (1 - block / depth). A selecting step takes the `2 r`
    tokens of highest energy, of even rank A and of odd rank B, and every A token joins its best B token. A splitting
    step ranks all tokens so and takes the `r` best pairs. The first half of the blocks is of the kind `first`.

    Source: Tran et al., "PiToMe", NeurIPS 2024, arXiv 2405.16148: "splitting" first for DeiT, "selecting" for MAE.
    """
    keys = inputs.unit_keys
    n = keys.shape[1] - protected
    patches = keys[:, protected:]
    m = margin * (1 - inputs.block / inputs.depth)
    energy = F.elu(patches @ patches.transpose(-1, -2) - m).mean(dim=-1)
    ranked = energy.argsort(dim=1, descending=True, stable=True) + protected
    selecting = (first == "selecting") == (inputs.block < (inputs.depth + 1) // 2)
    taken = ranked[:, : 2 * r] if selecting else ranked[:, : 2 * (n // 2)]
    match = match_sets(keys, taken[:, 0::2], taken[:, 1::2], r)
    position = torch.arange(keys.shape[1], device=keys.device).repeat(keys.shape[0], 1)
    leader = position.scatter(1, match.source, match.target)
    return Reduction(group_by_leader(leader), keys.shape[1] - r)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
