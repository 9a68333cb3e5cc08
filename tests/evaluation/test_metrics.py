"""Metrics against loops written out by hand, and against scikit-learn over the whole matrix."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from tome_zoo.evaluation import metrics


def hits_by_sorting(scores, targets, k):
    hits = 0
    for row, target in zip(scores, targets, strict=True):
        ranked = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits += target in ranked[:k]
    return 100 * hits / len(targets)


def average_precision_by_hand(relevant, scores):
    """Precision at each positive, ties taken as one threshold."""
    total = 0.0
    for score in (s for s, r in zip(scores, relevant, strict=True) if r):
        retrieved = [r for s, r in zip(scores, relevant, strict=True) if s >= score]
        total += sum(retrieved) / len(retrieved)
    return total / sum(relevant)


@given(st.integers(1, 30), st.integers(2, 12), st.integers(1, 6), st.integers(0, 2**31), st.booleans())
def test_top_k_counts_as_sorting_does(n, classes, k, seed, ties):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (n, classes)) if ties else rng.normal(size=(n, classes))
    targets = rng.integers(0, classes, n)
    assert metrics.top_k_accuracy(scores, targets, k) == pytest.approx(hits_by_sorting(scores, targets, k))


def test_a_constant_model_gains_nothing_by_ties():
    targets = np.arange(10)
    assert metrics.top_k_accuracy(np.zeros((10, 10)), targets, 1) == 10.0
    assert metrics.top_k_accuracy(np.zeros((10, 10)), targets, 5) == 50.0


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 2**31), st.booleans())
def test_map_is_scikit_learns_over_classes_with_positives(n, classes, seed, ties):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, classes)).round(0 if ties else 6).astype(np.float32)
    targets = rng.random((n, classes)) < 0.3
    targets[0, 0] = True
    found = metrics.mean_average_precision(scores, targets)
    counted = [c for c in range(classes) if targets[:, c].any()]
    whole = average_precision_score(targets[:, counted], scores[:, counted], average="macro")
    by_hand = [average_precision_by_hand(targets[:, c].tolist(), scores[:, c].tolist()) for c in counted]
    assert found.n_classes == len(counted)
    assert found.map == pytest.approx(100 * whole)
    assert found.map == pytest.approx(100 * np.mean(by_hand))


def test_map_reads_raw_logits_that_a_sigmoid_would_tie():
    scores = np.array([[40.0], [50.0], [60.0]], dtype=np.float32)
    assert metrics.mean_average_precision(scores, np.array([[False], [False], [True]])).map == 100.0


def test_map_needs_a_positive():
    with pytest.raises(ValueError, match="at least one class with a positive"):
        metrics.mean_average_precision(np.zeros((2, 3)), np.zeros((2, 3), dtype=bool))


def test_views_are_averaged_behind_the_softmax():
    logits = np.array([[0.0, 5.0, 0.0], [3.0, 0.0, 0.0]])
    powers = [[np.exp(v) for v in row] for row in logits]
    expected = [sum(row[c] / sum(row) for row in powers) / 2 for c in range(3)]
    np.testing.assert_allclose(metrics.aggregate_views(logits, "softmax_mean"), expected, rtol=1e-12)
    np.testing.assert_allclose(metrics.aggregate_views(logits, "logit_mean"), [1.5, 2.5, 0.0])


def test_one_view_keeps_its_logits_and_several_need_a_rule():
    np.testing.assert_array_equal(metrics.aggregate_views([[1.5, -200.0]], "none"), [1.5, -200.0])
    with pytest.raises(ValueError, match="one view"):
        metrics.aggregate_views(np.zeros((2, 3)), "none")


def test_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(metrics.softmax([1e4, 1e4, -1e4]), [0.5, 0.5, 0.0])


def test_multi_hot():
    table = metrics.multi_hot([(0, 2), (), (1,)], 3)
    assert table.tolist() == [[True, False, True], [False] * 3, [False, True, False]]


def test_classes_have_average_precisions_of_their_own():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(30, 3)), rng.random((30, 3)) < 0.3
    targets[:, 1] = False
    found = metrics.average_precisions(scores, targets)
    assert np.isnan(found[1])
    for c in (0, 2):
        assert found[c] == pytest.approx(100 * average_precision_score(targets[:, c], scores[:, c]))
    assert metrics.mean_average_precision(scores, targets) == (pytest.approx(np.nanmean(found)), 2)


def test_area_under_the_curve_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(1)
    scores, targets = rng.integers(0, 9, size=(25, 3)), rng.random((25, 3)) < 0.4
    targets[:, 2] = True
    shares = []
    for c in (0, 1):
        pairs = [(p > n) + (p == n) / 2 for p in scores[targets[:, c], c] for n in scores[~targets[:, c], c]]
        shares.append(sum(pairs) / len(pairs))
    assert metrics.mean_auc(scores, targets) == pytest.approx(100 * np.mean(shares))
    assert np.isnan(metrics.mean_auc(scores[:, 2:], targets[:, 2:]))


def test_the_sensitivity_index_is_that_of_papers_on_audioset():
    """VGGish's AUC 0.959 is d' 2.452 (Gemmeke et al. 2017: mAP 0.314, AUC 0.959, d-prime 2.452)."""
    assert metrics.d_prime(95.9) == pytest.approx(2.452, abs=0.01)
    assert (metrics.d_prime(50.0), metrics.d_prime(100.0), metrics.d_prime(0.0)) == (0.0, math.inf, -math.inf)
