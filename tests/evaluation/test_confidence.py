"""Bootstrap intervals against resampling written out with scikit-learn and scipy, and against their promise."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from tome_zoo.evaluation.confidence import Interval, bootstrap_interval
from tome_zoo.evaluation.metrics import mean_average_precision, top_k_accuracy


def noisy(samples, classes, seed=0, help_=1.0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, samples)
    scores = rng.normal(size=(samples, classes))
    scores[np.arange(samples), targets] += help_
    return scores, targets


@pytest.mark.parametrize("k", [1, 5])
def test_accuracy_is_scipys_bootstrap_of_the_mean(k):
    scores, targets = noisy(300, 10)
    hit = [100.0 * top_k_accuracy(row[None], [target], k) / 100 for row, target in zip(scores, targets, strict=True)]
    expected = stats.bootstrap((np.array(hit),), np.mean, n_resamples=20_000, method="percentile", rng=1)
    found = bootstrap_interval(scores, targets, f"top{k}", resamples=20_000)
    assert found == pytest.approx((expected.confidence_interval.low, expected.confidence_interval.high), abs=0.5)


def test_mean_average_precision_is_scikit_learns_on_each_resample():
    """With ties, with several classes a sample, and with a class that some resamples lack."""
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, size=(40, 4)).astype(float)
    table = rng.random((40, 4)) < [0.5, 0.2, 0.03, 0.3]
    table[:, 2] = False
    table[7, 2] = True
    counts = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=300)
    values = []
    for row in counts:
        chosen = np.repeat(np.arange(40), row)
        precisions = [
            average_precision_score(table[chosen, c], scores[chosen, c]) for c in range(4) if table[chosen, c].any()
        ]
        values.append(100 * np.mean(precisions))
    found = bootstrap_interval(scores, table, "map", resamples=300, seed=5, confidence=0.9)
    assert found == pytest.approx(np.percentile(values, [5, 95]))


def test_the_score_lies_inside_and_the_same_scores_give_the_same_interval():
    scores, targets = noisy(200, 8)
    lists = [[target] for target in targets.tolist()]
    one, again = (bootstrap_interval(scores, lists, "map") for _ in range(2))
    assert one == again
    table = np.eye(8, dtype=bool)[targets]
    assert one.low < mean_average_precision(scores, table).map < one.high


def test_it_covers_as_often_as_it_says():
    """The share of right answers of a model whose true one is known, by 400 draws of 200 samples."""
    rng = np.random.default_rng(0)
    covered = 0
    for draw in range(400):
        hit = rng.random(200) < 0.7
        scores = np.stack([hit, ~hit], axis=1).astype(float)
        found = bootstrap_interval(scores, np.zeros(200, dtype=int), "top1", seed=draw)
        covered += found.low <= 70.0 <= found.high
    assert 0.91 < covered / 400 < 0.98


def test_more_samples_narrow_it():
    widths = [np.ptp(bootstrap_interval(*noisy(n, 5), "top1")) for n in (100, 10_000)]
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.3)
    assert bootstrap_interval([[1.0, 0.0]], [0], "top1") == Interval(100.0, 100.0)


@pytest.mark.parametrize(
    ("scores", "metric", "options", "message"),
    [
        (np.empty((0, 2)), "top1", {}, "at least one sample"),
        ([[1.0, 0.0]], "top2", {}, "top1, top5 or map"),
        ([[1.0, 0.0]], "top1", {"confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(scores, metric, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(scores, [0] * len(scores), metric, **options)
