"""Each reducer against a loop in float64 written from its formula, one sample at a time."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from tome_zoo.errors import TomeZooError
from tome_zoo.merge import (
    ReducerInputs,
    Reduction,
    apply_reduction,
    get_reducer,
    list_reducers,
    match,
    merge,
    merge_count,
    register_reducer,
    unmerge,
)

HEADS, WIDTH = 3, 5
NAMES = [
    "bipartite", "bipartite:feature=q", "bipartite:feature=v", "bipartite:feature=x", "bipartite:feature=x_pre",
    "bipartite:distance=euclidean", "bipartite:distance=dot", "bipartite:distance=softmax", "bipartite:heads=concat",
    "bipartite:combine=mean", "bipartite:combine=max", "bipartite:combine=keep_one", "bipartite:partition=sequential",
    "bipartite:partition=random", "greedy", "kmeans", "kmeans:rounds=2", "random", "random:seed=4", "attention", "topk",
    "evit", "importance", "importance:pruned=0.5", "pitome", "pitome:first=selecting", "tofu", "tofu:early=0",
    "hierarchical", "hierarchical:linkage=single", "hierarchical:linkage=complete",
]  # fmt: skip


def given(batch=2, n_tokens=17, *, sized=True, seed=0, dtype=torch.float32, block=0, depth=4, by_size=True):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    q, k, v = (draw(batch, HEADS, n_tokens, WIDTH).to(dtype) for _ in range(3))
    size = torch.randint(1, 5, (batch, n_tokens), generator=generator).float() if sized else None
    return ReducerInputs(
        x=draw(batch, n_tokens, HEADS * WIDTH).to(dtype),
        before=draw(batch, n_tokens, HEADS * WIDTH).to(dtype),
        size=size,
        project=lambda: (q, k, v),
        keys=k,
        by_size=by_size,
        block=block,
        depth=depth,
    )


# ------------------------------------------------------------------------------------------- the loops, in float64


def cosine(a, b):
    lengths = float(a.norm()) * float(b.norm())
    return float(a @ b) / lengths if lengths > 0 else 0.0


def attention_rows(inputs, sample):
    """Attention probabilities [heads, tokens, tokens]."""
    q, k, _ = (part[sample].double() for part in inputs.project())
    logits = q @ k.transpose(-1, -2) / math.sqrt(WIDTH)
    if inputs.by_size and inputs.size is not None:
        logits = logits + inputs.size[sample].double().log()
    return logits.softmax(dim=-1)


class Case:
    """One sample of the inputs, in float64."""

    def __init__(self, inputs, sample, r, p):
        self.x, self.before = inputs.x[sample].double(), inputs.before[sample].double()
        self.size = torch.ones(len(self.x)).double() if inputs.size is None else inputs.size[sample].double()
        self.q, self.k, self.v = (part[sample].double() for part in inputs.project())
        self.keys = self.k.mean(dim=0)
        self.n_tokens, self.r, self.p = len(self.x), r, p
        self.patches = list(range(p, self.n_tokens))
        self.attention = attention_rows(inputs, sample)
        self.block, self.depth = inputs.block, inputs.depth


def mean_of(case, groups, weights=None):
    """Tokens and sizes of groups of positions, in the order of their lowest member."""
    weights = case.size if weights is None else weights
    tokens, sizes = [], []
    for group in groups:
        total = sum(weights[i] for i in group)
        tokens.append(sum(weights[i] * case.x[i] for i in group) / total)
        sizes.append(sum(case.size[i] for i in group))
    return torch.stack(tokens), torch.stack(sizes)


def survivors(case, dropped):
    keep = [i for i in range(case.n_tokens) if i not in dropped]
    return case.x[keep], case.size[keep]


def lowest(scores, positions, count):
    """The `count` positions of the lowest score, of equal ones the later."""
    return set(sorted(positions, key=lambda i: (scores[i], -i))[:count])


def matched(case, score, a, b, r):
    """(source, target) of the r best proposals."""
    best = {}
    for i in a:
        options = [score(i, j) for j in b]
        best[i] = (max(options), b[options.index(max(options))])
    merging = sorted(a, key=lambda i: (-best[i][0], a.index(i)))[:r]
    return [(i, best[i][1]) for i in merging]


def parity(case):
    return [i for i in case.patches if i % 2 == 0], [i for i in case.patches if i % 2 == 1]


def grouped(case, pairs, a, b):
    """Groups in the outgoing order of the default matching: prefix, kept A tokens, B tokens."""
    merging = {i for i, _ in pairs}
    kept = sorted(i for i in a if i not in merging)
    return (
        [[i] for i in range(case.p)] + [[i] for i in kept] + [[j, *(i for i, t in pairs if t == j)] for j in sorted(b)]
    )


def slow_bipartite(case, feature="k", distance="cosine", heads="mean", combine="weighted", partition="alternating"):
    many = {"k": case.k, "q": case.q, "v": case.v}
    if feature in many:
        metric = many[feature].mean(dim=0) if heads == "mean" else torch.cat(list(many[feature]), dim=-1)
    else:
        metric = case.x if feature == "x" else case.before
    a, b = parity(case)
    if partition == "sequential":
        half = len(case.patches) // 2
        a, b = case.patches[:half], case.patches[half:]

    def dot(i, j):
        return float(metric[i] @ metric[j])

    score = {
        "cosine": lambda i, j: cosine(metric[i], metric[j]),
        "euclidean": lambda i, j: -float((metric[i] - metric[j]).norm()),
        "dot": dot,
        "softmax": lambda i, j: math.exp(dot(i, j)) / sum(math.exp(dot(i, other)) for other in b),
    }[distance]
    groups = grouped(case, matched(case, score, a, b, case.r), a, b)
    if combine == "weighted":
        return mean_of(case, groups)
    _, sizes = mean_of(case, groups)
    if combine == "mean":
        return mean_of(case, groups, torch.ones(case.n_tokens).double())[0], sizes
    if combine == "max":
        return torch.stack([torch.stack([case.x[i] for i in group]).amax(dim=0) for group in groups]), sizes
    return torch.stack([case.x[group[0]] for group in groups]), torch.stack([case.size[group[0]] for group in groups])


def slow_greedy(case):
    playing, leader = list(case.patches), {i: i for i in range(case.n_tokens)}
    for _ in range(case.r):
        first, second = max(
            itertools.combinations(playing, 2),
            key=lambda ij: (cosine(case.keys[ij[0]], case.keys[ij[1]]), -ij[0], -ij[1]),
        )
        playing.remove(second)
        leader[second] = first
    return mean_of(case, by_root(leader))


def by_root(leader):
    def root(i):
        return i if leader[i] == i else root(leader[i])

    groups: dict = {}
    for i in leader:
        groups.setdefault(root(i), []).append(i)
    return [groups[i] for i in sorted(groups)]


def slow_kmeans(case, rounds=20):
    unit = {i: F.normalize(case.keys[i], dim=0) for i in case.patches}
    count = len(case.patches) - case.r
    chosen = [case.patches[0]]
    while len(chosen) < count:
        left = [i for i in case.patches if i not in chosen]
        chosen.append(min(left, key=lambda i: (max(float(unit[i] @ unit[c]) for c in chosen), i)))
    centres, label = [unit[c] for c in chosen], {}
    for _ in range(rounds):
        served = {i: [float(unit[i] @ c) for c in centres] for i in case.patches}
        new = {i: served[i].index(max(served[i])) for i in case.patches}
        moved = set()
        while empty := [c for c in range(count) if c not in new.values()]:
            crowded = [i for i in case.patches if i not in moved and list(new.values()).count(new[i]) > 1]
            worst = min(crowded, key=lambda i: (max(served[i]), i))
            new[worst] = empty[0]
            moved.add(worst)
        if new == label:
            break
        label = new
        centres = [F.normalize(sum(unit[i] for i in case.patches if label[i] == c), dim=0) for c in range(count)]
    groups = [[i for i in case.patches if label[i] == c] for c in range(count)]
    return mean_of(case, [[i] for i in range(case.p)] + sorted(groups, key=min))


def slow_hierarchical(case, linkage="average"):
    clusters = [[i] for i in case.patches]
    combine = {"single": min, "complete": max, "average": lambda values: sum(values) / len(values)}[linkage]
    for _ in range(case.r):
        first, second = min(
            itertools.combinations(range(len(clusters)), 2),
            key=lambda ab: combine(
                [1 - cosine(case.keys[i], case.keys[j]) for i in clusters[ab[0]] for j in clusters[ab[1]]]
            ),
        )
        clusters[first] += clusters.pop(second)
    return mean_of(case, [[i] for i in range(case.p)] + sorted(clusters, key=min))


def slow_attention(case):
    return survivors(case, lowest(case.attention.mean(dim=0).sum(dim=0), case.patches, case.r))


def slow_topk(case):
    return survivors(case, lowest(case.attention.mean(dim=0)[0], case.patches, case.r))


def slow_evit(case):
    scores = case.attention.mean(dim=0)[0]
    fused = lowest(scores, case.patches, case.r + 1)
    x, size = survivors(case, fused)
    token = sum(scores[i] * case.x[i] for i in fused)
    return torch.cat([x, token[None]]), torch.cat([size, sum(case.size[i] for i in fused)[None]])


def slow_importance(case, pruned=1 / 3):
    ranked = sorted(case.patches, key=lambda i: (-case.attention.mean(dim=0)[0][i], i))
    n_stay, n_drop = len(ranked) - case.r, int(case.r * pruned)
    stay, merging = sorted(ranked[:n_stay]), ranked[n_stay : len(ranked) - n_drop]
    members = {i: [i] for i in [*range(case.p), *stay]}
    size = {i: float(case.size[i]) for i in members}
    for i in merging:
        options = [cosine(case.x[i], case.x[j]) for j in stay]
        target = stay[options.index(max(options))]
        members[target].append(i)
        size[target] += float(case.size[i]) * max(0.0, max(options))
    tokens = [sum(case.x[i] for i in members[j]) / len(members[j]) for j in sorted(members)]
    return torch.stack(tokens), torch.tensor([size[j] for j in sorted(members)]).double()


def slow_pitome(case, first="splitting", margin=0.75):
    m = margin * (1 - case.block / case.depth)

    def elu(t):
        return t if t > 0 else math.exp(t) - 1

    energy = {i: sum(elu(cosine(case.keys[i], case.keys[j]) - m) for j in case.patches) for i in case.patches}
    ranked = sorted(case.patches, key=lambda i: (-energy[i], i))
    early = case.block < math.ceil(case.depth / 2)
    ranked = ranked[: 2 * case.r] if (first == "selecting") == early else ranked[: 2 * (len(ranked) // 2)]

    def score(i, j):
        return cosine(case.keys[i], case.keys[j])

    leader = {i: i for i in range(case.n_tokens)} | dict(matched(case, score, ranked[0::2], ranked[1::2], case.r))
    return mean_of(case, by_root(leader))


def slow_tofu(case, early=0.5):
    a, b = parity(case)
    pairs = matched(case, lambda i, j: cosine(case.keys[i], case.keys[j]), a, b, case.r)
    groups = grouped(case, pairs, a, b)
    if case.block < early * case.depth:
        return slow_bipartite(case, combine="keep_one")
    tokens = []
    for group in groups:
        mean = sum(case.x[i] for i in group) / len(group)
        tokens.append(mean * max(case.x[i].norm() for i in group) / mean.norm())
    return torch.stack(tokens), mean_of(case, groups)[1]


SLOW = {
    "bipartite": slow_bipartite, "greedy": slow_greedy, "kmeans": slow_kmeans, "hierarchical": slow_hierarchical,
    "attention": slow_attention, "topk": slow_topk, "evit": slow_evit, "importance": slow_importance,
    "pitome": slow_pitome, "tofu": slow_tofu,
}  # fmt: skip


def slow(name, case):
    base, _, text = name.partition(":")
    options = {}
    for part in text.split(",") if text else ():
        key, value = part.split("=")
        options[key] = float(value) if value.replace(".", "").isdigit() else value
    if "rounds" in options:
        options["rounds"] = int(options["rounds"])
    return SLOW[base](case, **options)


# ---------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("name", [name for name in NAMES if "random" not in name])
@pytest.mark.parametrize(
    ("n_tokens", "protected", "r", "block"), [(17, 1, 5, 0), (18, 2, 8, 3), (13, 0, 1, 2), (24, 3, 10, 1)]
)
@pytest.mark.parametrize("sized", [False, True])
def test_equals_a_loop_in_float64(name, n_tokens, protected, r, block, sized):
    inputs = given(n_tokens=n_tokens, sized=sized, seed=n_tokens, block=block)
    step = get_reducer(name)(inputs, r, protected)
    x, size = apply_reduction(inputs.x, inputs.size, step)
    for sample in range(len(x)):
        expected, expected_size = slow(name, Case(inputs, sample, r, protected))
        torch.testing.assert_close(x[sample].double(), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(size[sample].double(), expected_size, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n_tokens", "protected", "asked"), [(9, 1, 3), (12, 2, 99), (7, 1, 3), (3, 1, 1)])
def test_maps_are_total_and_prefix_tokens_stay(name, dtype, n_tokens, protected, asked):
    """Every token has an outgoing one, every outgoing one a token, the prefix is untouched, all tokens can return."""
    r = merge_count(asked, n_tokens, protected)
    inputs = given(n_tokens=n_tokens, dtype=dtype, block=2)
    step = get_reducer(name)(inputs, r, protected)
    x, size = apply_reduction(inputs.x, inputs.size, step)
    assert x.shape == (2, n_tokens - r, HEADS * WIDTH)
    assert x.dtype == dtype
    assert torch.isfinite(x.float()).all()
    assert (size > 0).all()
    assert torch.equal(x[:, :protected], inputs.x[:, :protected])
    assert torch.equal(size[:, :protected], inputs.size[:, :protected])
    for assign in step.assign:
        assert set(assign.tolist()) == set(range(n_tokens - r))
        assert assign[:protected].tolist() == list(range(protected))
        assert not set(range(protected)) & set(assign[protected:].tolist())
    assert unmerge(x, step.assign).shape == inputs.x.shape
    one = get_reducer(name)(inputs, r, protected)
    assert torch.equal(one.assign, step.assign), "repeatable"


@pytest.mark.parametrize("name", NAMES)
def test_equal_keys_and_zero_keys(name):
    """Ties everywhere and no direction at all give a whole map all the same."""
    for keys in (torch.ones(2, HEADS, 11, WIDTH), torch.zeros(2, HEADS, 11, WIDTH)):
        inputs = given(n_tokens=11)
        tied = ReducerInputs(inputs.x, inputs.before, None, lambda k=keys: (k, k, k), keys, block=1, depth=4)
        step = get_reducer(name)(tied, 4, 1)
        assert all(set(assign.tolist()) == set(range(7)) for assign in step.assign)
        x, size = apply_reduction(tied.x, None, step)
        assert torch.isfinite(x).all()
        assert torch.isfinite(size).all()


@pytest.mark.parametrize(("n_tokens", "protected", "r"), [(17, 1, 5), (18, 2, 8), (13, 0, 6)])
def test_the_open_form_of_the_default_is_the_default(n_tokens, protected, r):
    inputs = given(n_tokens=n_tokens)
    step = get_reducer("bipartite")(inputs, r, protected)
    assign = match(inputs.keys.sum(dim=1), r, protected)
    assert torch.equal(step.assign, assign)
    expected = merge(inputs.x, inputs.size, assign, n_tokens - r)
    found = apply_reduction(inputs.x, inputs.size, step)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_random_draws_differ_by_sample_block_and_seed():
    first = get_reducer("random")(given(n_tokens=40), 12, 1)
    assert not torch.equal(first.keep[0], first.keep[1])
    for other in (
        get_reducer("random")(given(n_tokens=40, block=1), 12, 1),
        get_reducer("random:seed=1")(given(n_tokens=40), 12, 1),
    ):
        assert not torch.equal(first.keep, other.keep)
    drawn = torch.cat(
        [get_reducer(f"random:seed={s}")(given(batch=50, n_tokens=21), 10, 1).keep.flatten() for s in range(20)]
    )
    counts = torch.bincount(drawn, minlength=21)[1:].float() / 1000
    assert (counts - 0.5).abs().max() < 0.08, "each of 20 tokens stays half of the time"


def test_gradients_reach_what_stays():
    for name in NAMES:
        inputs = given(n_tokens=11, block=2)
        x = inputs.x.clone().requires_grad_()
        tracked = ReducerInputs(x, inputs.before, inputs.size, inputs.project, inputs.keys, block=2, depth=4)
        step = get_reducer(name)(tracked, 4, 1)
        apply_reduction(x, inputs.size, step)[0].square().sum().backward()
        assert torch.isfinite(x.grad).all(), name
        assert (x.grad.abs().sum(dim=-1) > 0).sum() >= 14, name


def test_names_options_and_own_functions():
    assert set(SLOW) | {"random"} == set(list_reducers())
    for wrong, hint in (
        ("bipartit", "did you mean 'bipartite'"), ("kmeans:round=3", "rounds"), ("kmeans:rounds=x", "integer"),
        ("bipartite:feature=z", "option feature .* should be 'k', 'q'"), ("topk:a=1", "none"),
    ):  # fmt: skip
        with pytest.raises(TomeZooError, match=hint):
            get_reducer(wrong)

    def first_ones(inputs, r, protected, *, offset=0):
        n_out = inputs.x.shape[1] - r
        assign = (torch.arange(inputs.x.shape[1]) - r).clamp(min=0).expand(len(inputs.x), -1)
        return Reduction(assign + offset, n_out)

    register_reducer("first_ones", first_ones)
    assert "first_ones" in list_reducers()
    assert get_reducer("first_ones")(given(), 3, 0).n_out == 14
    assert get_reducer(first_ones).name == "first_ones"
    with pytest.raises(TomeZooError, match="from 17 to 14 tokens"):
        get_reducer(lambda inputs, r, protected: Reduction(inputs.x[..., 0], 3))(given(), 3, 0)
    for taken in ("kmeans", "a:b", ""):
        with pytest.raises(TomeZooError, match="name"):
            register_reducer(taken, first_ones)


def test_options_of_own_functions_have_the_types_they_state():
    def own(
        inputs, r, protected, weight=1.0, *, exact=True, limit: int | None = None, way: "str" = "up", any_other=None
    ):
        raise AssertionError

    register_reducer("own_options", own)
    assert get_reducer("own_options:weight=2,exact=false,limit=3,way=7,any_other=x").options == {
        "weight": 2.0, "exact": False, "limit": 3, "way": "7", "any_other": "x",
    }  # fmt: skip
    for wrong in ("weight=a", "exact=2", "limit=1.5", "r=3", "weight"):
        with pytest.raises(TomeZooError, match="own_options"):
            get_reducer(f"own_options:{wrong}")
