"""Reducers that look at all pairs of tokens: greedy merging, k-means, and hierarchical clustering of the keys.

Groups stand at the position of their lowest member; tokens are averaged by size and sizes add up. Keys are averaged
over heads and of length one; a zero key has cosine 0 with all. Equal similarities: the lower position.
"""

import torch
from torch import Tensor

from tome_zoo.merge.reduction import ReducerInputs, Reduction, group_by_leader, lowest_members


def greedy(inputs: ReducerInputs, r: int, protected: int) -> Reduction:
    """Merge the most similar pair of all, `r` times.

    The later token of the pair joins the group of the earlier one and leaves the race; the earlier one stays in it with
    its old key, so that chains form.

    Source: Bolya et al., ICLR 2023, table 2 (merging, greedy), which leaves open whether the partner stays in the race.
    """
    keys = inputs.unit_keys[:, protected:]
    batch, n, _ = keys.shape
    similarity = keys @ keys.transpose(-1, -2)
    below = torch.ones(n, n, dtype=torch.bool, device=keys.device).tril()  # i < j stays
    similarity = similarity.masked_fill(below, -torch.inf)
    leader = torch.arange(n, device=keys.device).repeat(batch, 1)
    for _ in range(r):
        best = similarity.flatten(1).argmax(dim=1)
        first, second = best // n, best % n
        leader.scatter_(1, second[:, None], first[:, None])
        similarity.scatter_(1, second[:, None, None].expand(-1, 1, n), -torch.inf)
        similarity.scatter_(2, second[:, None, None].expand(-1, n, 1), -torch.inf)
    for _ in range(max(1, r).bit_length()):
        leader = leader.gather(1, leader)
    return _with_prefix(leader, protected, inputs.x.shape[1] - r)


def kmeans(inputs: ReducerInputs, r: int, protected: int, *, rounds: int = 20) -> Reduction:
    """k-means of the unit keys with `n - r` centres, by cosine.

    Start: the first token, then again and again the one whose largest cosine with the chosen ones is smallest. A round
    assigns each token to the centre of largest cosine and moves each centre to the mean of its members; it ends when
    nothing changes, at the latest after `rounds`. An empty centre takes the token that its own centre serves worst, of
    the clusters with more than one.

    Source: Marin et al., "Token Pooling", arXiv 2110.03860; Bolya et al., ICLR 2023, table 2.
    """
    keys = inputs.unit_keys[:, protected:]
    n_centres = keys.shape[1] - r
    centres = keys.gather(1, _farthest(keys, n_centres).unsqueeze(-1).expand(-1, -1, keys.shape[2]))
    label = _fill_empty(keys, centres, n_centres)
    for _ in range(rounds - 1):
        sums = torch.zeros_like(centres).scatter_add(1, label.unsqueeze(-1).expand_as(keys), keys)
        centres = torch.nn.functional.normalize(sums, dim=-1)
        before, label = label, _fill_empty(keys, centres, n_centres)
        if torch.equal(before, label):
            break
    return _with_prefix(lowest_members(label, n_centres), protected, inputs.x.shape[1] - r)


def _farthest(keys: Tensor, count: int) -> Tensor:
    """Positions of `count` tokens far from each other, `[batch, count]`."""
    batch, n, width = keys.shape
    chosen = keys.new_zeros(batch, count, dtype=torch.int64)
    closest = keys.new_full((batch, n), -torch.inf)
    taken = torch.zeros(batch, n, dtype=torch.bool, device=keys.device)
    for number in range(count):
        last = chosen[:, number]
        if number:
            last = closest.masked_fill(taken, torch.inf).argmin(dim=1)
            chosen[:, number] = last
        taken.scatter_(1, last[:, None], True)
        centre = keys.gather(1, last[:, None, None].expand(-1, 1, width))
        closest = torch.maximum(closest, (keys @ centre.transpose(-1, -2)).squeeze(-1))
    return chosen


def _fill_empty(keys: Tensor, centres: Tensor, n_centres: int) -> Tensor:
    """The centre of each token, `[batch, tokens]`, none of them without a token."""
    similarity, label = (keys @ centres.transpose(-1, -2)).max(dim=2)
    while True:
        count = label.new_zeros(label.shape[0], n_centres).scatter_add(1, label, torch.ones_like(label))
        empty = count == 0
        if not empty.any():
            return label
        lonely = count.gather(1, label) < 2
        worst = similarity.masked_fill(lonely, torch.inf).argmin(dim=1, keepdim=True)
        target = torch.where(
            empty.any(dim=1, keepdim=True), empty.int().argmax(dim=1, keepdim=True), label.gather(1, worst)
        )
        label = label.scatter(1, worst, target)
        similarity = similarity.scatter(1, worst, torch.inf)  # each token moves once


def hierarchical(inputs: ReducerInputs, r: int, protected: int, *, linkage: str = "average") -> Reduction:
    """Join the two nearest clusters of unit keys, `r` times; distance 1 - cosine.

    scikit-learn clusters sample by sample on the CPU. Its order among equal distances is its own.

    Args:
        inputs: Of the block.
        r: Tokens to merge.
        protected: Prefix tokens.
        linkage: "average", "complete" or "single".

    Source: Haurum et al., "Agglomerative Token Clustering", ECCV 2024, arXiv 2409.11923.
    """
    from sklearn.cluster import AgglomerativeClustering

    keys = inputs.unit_keys[:, protected:]
    n_clusters = keys.shape[1] - r
    distance = (1 - keys @ keys.transpose(-1, -2)).clamp_(min=0).cpu().double().numpy()
    labels = []
    for one in distance:
        if n_clusters == 1:
            labels.append(torch.zeros(keys.shape[1], dtype=torch.int64))
            continue
        found = AgglomerativeClustering(n_clusters, metric="precomputed", linkage=linkage).fit_predict(one)
        labels.append(torch.from_numpy(found).long())
    label = torch.stack(labels).to(keys.device)
    return _with_prefix(lowest_members(label, n_clusters), protected, inputs.x.shape[1] - r)


def _with_prefix(leader: Tensor, protected: int, n_out: int) -> Reduction:
    """The reduction by leaders among the unprotected tokens, prefix tokens in front."""
    prefix = torch.arange(protected, device=leader.device).expand(leader.shape[0], -1)
    return Reduction(group_by_leader(torch.cat([prefix, leader + protected], dim=1)), n_out)
