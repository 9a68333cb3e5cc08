"""The merge core against the published implementation's vectors, a float64 loop, and properties over random shapes."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tome_zoo.merge import assignment, best_partners, compose, match, merge, merge_count, merge_pairs, pair, unmerge
from tome_zoo.merge import bipartite as core

CASES = json.loads((Path(__file__).parents[1] / "golden" / "index.json").read_text())["merge"]


def slow_match(metric: torch.Tensor, r: int, protected: int) -> list[int]:
    """One sample, `[tokens, channels]`, by loops in float64 over the same float32 unit vectors."""
    n = metric.shape[0]
    unit = torch.nn.functional.normalize(metric.float(), dim=-1)
    a = [i for i in range(protected, n) if i % 2 == 0]
    b = [i for i in range(protected, n) if i % 2 == 1]
    r = min(r, (n - protected) // 2)
    if r == 0:
        return list(range(n))
    similarity = unit @ unit.T
    best = {}
    for i in a:
        scores = [float(similarity[i, j]) for j in b]
        best[i] = (max(scores), scores.index(max(scores)))
    merging = sorted(a, key=lambda i: (-best[i][0], i))[:r]
    kept = [i for i in a if i not in merging]
    slot = {token: index for index, token in enumerate([*range(protected), *kept, *b])}
    return [slot[b[best[i][1]]] if i in merging else slot[i] for i in range(n)]


def slow_merge(x: torch.Tensor, size: torch.Tensor, assign: torch.Tensor, n_out: int):
    total = torch.zeros(n_out, x.shape[-1], dtype=torch.float64)
    weight = torch.zeros(n_out, dtype=torch.float64)
    for i, j in enumerate(assign.tolist()):
        total[j] += x[i].double() * size[i].double()
        weight[j] += size[i].double()
    return total / weight[:, None], weight


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"r{c['r']}-{'x'.join(map(str, c['shape']))}")
def test_two_merges_equal_the_published_implementation(case, golden):
    """Tokens, sizes, sources and the restored grid agree; as sets where the reference leaves its own order."""
    vectors = {k.split(".", 1)[1]: v for k, v in golden("merge").items() if k.startswith(f"{case['case']}.")}
    protected = int(case["class_token"]) + int(case["distill_token"])
    x, size, trace = vectors["x"], None, None
    # without a class token the reference leaves kept tokens in order of similarity, on which its second match depends
    steps = [("", case["r"])] + [("2", case["r2"])] * case["class_token"]
    for step, r in steps:
        metric = vectors[f"metric{step}"]
        assign = match(metric, r, protected)
        n_out = vectors[f"merged{step}"].shape[1]
        assert n_out == metric.shape[1] - merge_count(r, metric.shape[1], protected)
        x, size = merge(x, size, assign, n_out)
        trace = assign if trace is None else compose(trace, assign)
        source = torch.nn.functional.one_hot(trace, n_out).transpose(1, 2).float()
        expected, expected_size, expected_source = (vectors[f"{k}{step}"] for k in ("merged", "size", "source"))
        # position of each of our tokens among the reference's: the same original tokens
        same = (source.unsqueeze(2) == expected_source.unsqueeze(1)).all(dim=-1)
        assert (same.sum(dim=2) == 1).all()
        order = same.float().argmax(dim=2)
        if case["class_token"]:
            assert (order == torch.arange(n_out)).all()
        torch.testing.assert_close(x, expected.gather(1, order.unsqueeze(-1).expand_as(x)), atol=1e-5, rtol=1e-5)
        assert torch.equal(size, expected_size[..., 0].gather(1, order))
    if not case["distill_token"]:
        first = match(vectors["metric"], case["r"], protected)
        merged, _ = merge(vectors["x"], None, first, vectors["merged"].shape[1])
        torch.testing.assert_close(unmerge(merged, first), vectors["unmerged"], atol=1e-5, rtol=1e-5)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(0, 6), st.integers(0, 50))


@st.composite
def problems(draw):
    """(metric, x, size, r, protected): random, quantised into ties, or with zero vectors, in several dtypes."""
    batch, n, channels, protected, r = draw(shapes)
    protected = min(protected, n)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["random", "ties", "zeros", "equal"]))
    metric = torch.randn(batch, n, channels, generator=generator)
    if kind == "ties":
        metric = metric.round()
    elif kind == "zeros":
        metric[torch.rand(batch, n, generator=generator) < 0.5] = 0
    elif kind == "equal":
        metric = torch.ones_like(metric)
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
    x = (torch.randn(batch, n, channels, generator=generator) * 100).to(dtype)
    size = torch.randint(1, 400, (batch, n), generator=generator).float()
    return metric.to(dtype), x, size, r, protected


@settings(max_examples=150, deadline=None)
@given(problems())
def test_properties_of_any_merge(problem):
    metric, x, size, r, protected = problem
    batch, n, _ = x.shape
    n_out = n - merge_count(r, n, protected)
    assign = match(metric, r, protected)
    merged, merged_size = merge(x, size, assign, n_out)
    restored = unmerge(merged, assign)

    assert assign.shape == (batch, n)
    assert assign.dtype == torch.int64
    assert merged.shape == (batch, n_out, x.shape[-1])
    assert merged.dtype == x.dtype
    assert torch.equal(merged_size.sum(1), size.sum(1))
    for sample in range(batch):
        assert sorted(set(assign[sample].tolist())) == list(range(n_out))  # no outgoing token is empty
        assert assign[sample, :protected].tolist() == list(range(protected))
        counts = torch.bincount(assign[sample], minlength=n_out)
        assert (counts[:protected] == 1).all()  # nothing merges into the prefix
        alone = counts[assign[sample]] == 1
        assert torch.equal(restored[sample][alone], x[sample][alone])
        mean, weight = slow_merge(x[sample], size[sample], assign[sample], n_out)
        assert torch.equal(merged_size[sample].double(), weight)
        tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2}.get(x.dtype, 1e-5)
        torch.testing.assert_close(merged[sample].double(), mean, atol=tolerance * 100, rtol=tolerance)


@settings(max_examples=150, deadline=None)
@given(problems(), st.booleans())
def test_the_short_way_is_the_same_step(problem, sized):
    """`merge_pairs` equals `merge` by the pairs' map: tokens, sizes and gradients; lone tokens bit for bit."""
    metric, x, size, r, protected = problem
    size = size if sized else None
    assume(merge_count(r, x.shape[1], protected) > 0)
    pairs = pair(metric, r, protected)
    assign = assignment(pairs)
    n_out = x.shape[1] - merge_count(r, x.shape[1], protected)
    assert pairs.keep.shape[1] == n_out
    assert torch.equal(assign, match(metric, r, protected))
    assert torch.equal(assign.gather(1, pairs.keep), torch.arange(n_out).expand(x.shape[0], -1))
    x, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    (short, short_size), (plain, plain_size) = merge_pairs(x, size, pairs), merge(other, size, assign, n_out)
    assert short.dtype == x.dtype
    assert torch.equal(short_size, plain_size)
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2}.get(x.dtype, 1e-5)
    torch.testing.assert_close(short, plain, atol=tolerance * 100, rtol=tolerance)
    alone = (assign.unsqueeze(1) == assign.unsqueeze(2)).sum(2) == 1
    assert torch.equal(unmerge(short, assign)[alone], x[alone])
    weight = torch.randn_like(plain)
    (short * weight).sum().backward()
    (plain * weight).sum().backward()
    torch.testing.assert_close(x.grad, other.grad, atol=4 * tolerance, rtol=4 * tolerance)


@pytest.mark.parametrize("pieces", [1, 7, 60])
def test_scores_in_pieces(pieces, monkeypatch):
    """Bit for bit on small whole numbers, whose products are exact, with ties."""
    a, b = torch.randint(-3, 4, (2, 60, 5)).float(), torch.randint(-3, 4, (2, 11, 5)).float()
    best, partner = best_partners(a, b)
    monkeypatch.setattr(core, "SCORES", 2 * 11 * 60 // pieces)
    in_pieces = best_partners(a, b)
    assert torch.equal(in_pieces[0], best)
    assert torch.equal(in_pieces[1], partner)
    scores = torch.einsum("bic,bjc->bij", a, b).tolist()
    assert partner.tolist() == [[row.index(max(row)) for row in sample] for sample in scores]


@settings(max_examples=100, deadline=None)
@given(problems())
def test_matching_equals_a_loop(problem):
    """Also under ties and zero vectors: both prefer the lower position."""
    metric, _, _, r, protected = problem
    assign = match(metric, r, protected)
    units = torch.nn.functional.normalize(metric.float(), dim=-1)
    first_a, first_b = protected + protected % 2, protected + 1 - protected % 2
    products = units[:, first_a::2] @ units[:, first_b::2].transpose(1, 2)  # rounding depends on the shape
    for sample in range(metric.shape[0]):
        unit = units[sample]
        gaps = torch.cat([(unit @ unit.T).flatten(), products[sample].flatten()]).unique().diff()
        if gaps.numel() and (gaps < 1e-6).any():  # equal up to rounding: the order of summation may decide
            continue
        assert assign[sample].tolist() == slow_match(metric[sample], r, protected)


@settings(max_examples=30, deadline=None)
@given(problems(), st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_trace_follows_every_token_through_all_steps(problem, rs):
    """Composed maps equal a brute-force walk, and merging in steps is the weighted mean of what the trace says."""
    _, x, _, _, protected = problem
    tokens, size = x.float(), None
    trace = torch.arange(x.shape[1]).expand(x.shape[:2])
    walk = [list(range(x.shape[1])) for _ in range(x.shape[0])]
    for r in rs:
        assign = match(tokens, r, protected)
        tokens, size = merge(tokens, size, assign, int(assign.max()) + 1)
        trace = compose(trace, assign)
        walk = [[int(assign[b, t]) for t in walk[b]] for b in range(x.shape[0])]
    assert trace.tolist() == walk
    n_out = tokens.shape[1]
    for sample in range(x.shape[0]):
        mean, weight = slow_merge(x[sample], torch.ones(x.shape[1]), trace[sample], n_out)
        torch.testing.assert_close(tokens[sample].double(), mean, atol=2e-3, rtol=1e-4)
        assert torch.equal(size[sample].double(), weight)


def test_half_precision_neither_overflows_nor_loses_count():
    """400 tokens of value 170 overflow float16 as a sum, and bfloat16 cannot count past 256."""
    x = torch.full((1, 4, 2), 170.0, dtype=torch.float16)
    size = torch.full((1, 4), 400.0)
    merged, merged_size = merge(x, size, torch.tensor([[0, 0, 0, 0]]), 1)
    assert merged[0, 0].tolist() == [170.0, 170.0]
    assert merged_size.item() == 1600
    _, counted = merge(x.bfloat16(), torch.tensor([[256.0, 1.0, 1.0, 1.0]]), torch.tensor([[0, 0, 0, 0]]), 1)
    assert counted.item() == 259


def test_a_zero_key_attracts_nothing():
    """A zero vector has similarity 0 to all: real pairs, even slightly similar ones, merge before it."""
    metric = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.3, 1.0]]])
    assert match(metric, 1).tolist() == [[0, 1, 2, 2]]


def test_matching_ignores_autocast():
    """Scores stay float32 under autocast, so that close keys are still told apart."""
    metric = torch.nn.functional.normalize(torch.randn(2, 60, 16), dim=-1) + 4.0
    expected = match(metric, 12, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(match(metric, 12, 1), expected)


def test_gradients_flow_to_the_merged_tokens_and_not_to_the_matching():
    x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    assign = match(x, 3, 1)
    merged, _ = merge(x, None, assign, 6)
    merged.sum().backward()
    assert torch.isfinite(x.grad).all()
    counts = torch.nn.functional.one_hot(assign, 6).sum(1).gather(1, assign).double()
    torch.testing.assert_close(x.grad, (1 / counts).unsqueeze(-1).expand_as(x), atol=1e-6, rtol=1e-6)
