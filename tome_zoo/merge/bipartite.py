"""Bipartite soft matching, the default: which pairs of tokens merge, and the merge by those pairs.

`match` gives the step as a map of tokens. The transformer takes the short way, `pair` and `merge_pairs`: the same step
as a list of pairs, which spares the tokens that do not merge all but one copy.

Source: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, arXiv 2210.09461, section 3.
"""

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tome_zoo.merge.maps import merge_count

SCORES = 2**24  # similarities in memory at a time, 64 MiB; on a CPU, whose cache is small, a quarter of that


class Pairs(NamedTuple):
    """The pairs of one step, in the form in which merging needs them; `assignment` turns them into an `assign`.

    Attributes:
        keep: The incoming position that leads each outgoing token: prefix, kept A tokens, B tokens; `[batch, n_out]`.
        source: Incoming position of each A token that merges, best pair first, `[batch, r]`.
        partner: Index within set B of the token that it merges into, `[batch, r]`.
        first_b: Incoming position of the first B token; the others follow at every second one.
        n_b: Tokens in set B, which come last in the outgoing order.
    """

    keep: Tensor
    source: Tensor
    partner: Tensor
    first_b: int
    n_b: int

    @property
    def slot(self) -> Tensor:
        """The outgoing index that each source becomes, `[batch, r]`."""
        return self.partner + (self.keep.shape[1] - self.n_b)


def pair(metric: Tensor, r: int, protected: int = 0) -> Pairs:
    """Bipartite soft matching: choose the `r` best pairs of similar tokens.

    Tokens at even positions (set A) propose to the most similar token at an odd position (set B); the `r` best
    proposals merge. The protected prefix is in neither set. Outgoing order: prefix, the kept A tokens, all B tokens,
    each in ascending position. Similarity is the cosine in float32, also under autocast; a zero vector is similar to
    nothing; ties go to the lower position.

    Args:
        metric: What tokens are compared by, `[batch, tokens, channels]`; in the transformer, keys averaged over heads.
        r: Tokens to merge; at most half of the unprotected tokens do, and at least one (see `merge_count`).
        protected: Prefix tokens that never merge.
    """
    batch, n_tokens, _ = metric.shape
    r = merge_count(r, n_tokens, protected)
    first_a = protected + protected % 2  # first even position behind the prefix
    first_b = protected + 1 - protected % 2  # first odd one
    unit = F.normalize(metric.detach().float(), dim=-1)
    best, partner = best_partners(unit[:, first_a::2], unit[:, first_b::2])
    ranked = best.argsort(dim=-1, descending=True, stable=True)
    merged, kept = ranked[:, :r], ranked[:, r:].sort(dim=-1).values
    position = torch.arange(n_tokens, device=metric.device)
    set_b = position[first_b::2]
    keep = torch.cat(
        [position[:protected].expand(batch, -1), first_a + 2 * kept, set_b.expand(batch, -1)], dim=1
    )  # [batch, n_tokens - r]
    return Pairs(keep, first_a + 2 * merged, partner.gather(1, merged), first_b, set_b.shape[0])


def best_partners(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The largest scalar product of each row of `a` with a row of `b`, and which row that is; ties go to the lower.

    The scores `[batch, n_a, n_b]` are computed in pieces of at most `SCORES` numbers, on a CPU a quarter of that.

    Args:
        a: float32 `[batch, n_a, channels]`.
        b: float32 `[batch, n_b, channels]`.

    Returns:
        Best product, float32, and its row of `b`, int64, both `[batch, n_a]`.
    """
    across = b.transpose(-1, -2)
    with contextlib.nullcontext() if a.device.type == "meta" else torch.autocast(a.device.type, enabled=False):
        most = SCORES // 4 if a.device.type == "cpu" else SCORES
        if a.shape[0] * a.shape[1] * b.shape[1] <= most:
            best, partner = (a @ across).max(dim=-1)
            return best, partner
        rows = max(1, most // (a.shape[0] * b.shape[1]))
        pieces = [(piece @ across).max(dim=-1) for piece in a.split(rows, dim=1)]
    return torch.cat([best for best, _ in pieces], dim=1), torch.cat([partner for _, partner in pieces], dim=1)


def assignment(pairs: Pairs) -> Tensor:
    """The `assign` of these pairs, int64 `[batch, tokens]`."""
    batch, n_out = pairs.keep.shape
    assign = pairs.keep.new_empty(batch, n_out + pairs.source.shape[1])
    outgoing = torch.arange(n_out, device=assign.device).expand(batch, -1)
    return assign.scatter(1, pairs.keep, outgoing).scatter(1, pairs.source, pairs.slot)


def match(metric: Tensor, r: int, protected: int = 0) -> Tensor:
    """Bipartite soft matching as a map of tokens, by the rules of `pair`.

    Args:
        metric: What tokens are compared by, `[batch, tokens, channels]`.
        r: Tokens to merge; at most half of the unprotected tokens do.
        protected: Prefix tokens that never merge.

    Returns:
        `assign`, int64 `[batch, tokens]`, with values in `[0, tokens - merge_count(r, tokens, protected))`.
    """
    batch, n_tokens, _ = metric.shape
    if merge_count(r, n_tokens, protected) == 0:
        return torch.arange(n_tokens, device=metric.device).expand(batch, n_tokens)
    return assignment(pair(metric, r, protected))


def merge_pairs(x: Tensor, size: Tensor | None, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """What `merge` gives for the map of these pairs, touching only the tokens that merge.

    All other tokens are copied once. A merged token is its B token plus the weighted differences of its sources, summed
    in float32 or better for each pair; whichever pair leads a B token holds the sum.

    Args:
        x: Tokens, `[batch, tokens, channels]`, any floating dtype.
        size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
        pairs: From `pair`.

    Returns:
        Merged tokens `[batch, n_out, channels]` in the dtype of `x`, and their sizes, float32 `[batch, n_out]`.
    """
    batch, n_tokens, channels = x.shape
    n_out, r = pairs.keep.shape[1], pairs.source.shape[1]
    if size is None:
        size = torch.ones(batch, n_tokens, dtype=torch.float32, device=x.device)
    slot, own = pairs.slot, size.gather(1, pairs.source)
    merged_size = size.gather(1, pairs.keep).scatter_add(1, slot, own)
    weight = (own / merged_size.gather(1, slot)).view(-1, 1)

    sample = torch.arange(batch, device=x.device).unsqueeze(1)  # rows of all samples in one list
    keep, source, target = (
        (index + n_tokens * sample).flatten() for index in (pairs.keep, pairs.source, pairs.first_b + 2 * pairs.partner)
    )
    rows = x.flatten(0, 1)
    wide = torch.promote_types(x.dtype, torch.float32)
    base = rows.index_select(0, target).to(wide)
    change = (rows.index_select(0, source).to(wide) - base) * weight
    # Pairs with the same B token sum up at the one whose number that token remembers last.
    number = torch.arange(r, device=x.device).expand(batch, -1)
    leader = pairs.partner.new_empty(batch, pairs.n_b).scatter(1, pairs.partner, number).gather(1, pairs.partner)
    leader = (leader + r * sample).flatten()
    total = base + torch.zeros_like(change).index_add(0, leader, change).index_select(0, leader)
    if total.requires_grad:  # several pairs write the same sum to the same place; one of them takes the gradient
        leads = leader == torch.arange(batch * r, device=x.device)
        total = torch.where(leads.unsqueeze(1), total, total.detach())
    merged = rows.index_select(0, keep).index_copy(0, (slot + n_out * sample).flatten(), total.to(x.dtype))
    return merged.view(batch, n_out, channels), merged_size
