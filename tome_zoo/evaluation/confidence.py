"""How far a score may lie from that of other samples of the same kind: bootstrap intervals over the samples."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tome_zoo.evaluation.metrics import hits, multi_hot

Metric = Literal["top1", "top5", "map"]

RESAMPLES = 1000
FEWEST_RESAMPLES = 100
ELEMENTS = 500_000_000  # resamples x samples x classes that mAP may take: a few seconds


class Interval(NamedTuple):
    """The ends of an interval, in per cent."""

    low: float
    high: float


def bootstrap_interval(
    scores: ArrayLike,
    targets: Sequence[int] | Sequence[Sequence[int]] | NDArray,
    metric: Metric,
    *,
    confidence: float = 0.95,
    resamples: int | None = None,
    seed: int = 0,
) -> Interval:
    """The percentile bootstrap interval of a score (Efron 1979): samples are drawn anew with replacement, many times.

    It tells the chance of the draw of samples alone, not that of training. The same scores give the same interval.

    Args:
        scores: `[samples, classes]`, at least one sample.
        targets: The class of each sample; for "map" its classes, or a table `[samples, classes]` of True and False.
        metric: "top1", "top5" or "map".
        confidence: Share of the resamples that lie inside, in (0, 1).
        resamples: How many; None takes 1000, and for "map" on large data fewer, never less than 100.
        seed: Of the draw.

    Returns:
        Lower and upper end in per cent.

    Raises:
        ValueError: If there is no sample, the metric is unknown or the confidence lies outside (0, 1).
    """
    rows = np.asarray(scores)
    if not len(rows):
        raise ValueError("expected at least one sample, got none: an interval needs samples to draw from")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence should lie between 0 and 1, got {confidence}")
    rng = np.random.default_rng(seed)
    if metric in ("top1", "top5"):
        hit = hits(rows, targets, int(metric[3:]))
        # A resample holds hits with the frequency they have here, independently: their number is binomial.
        drawn = rng.binomial(len(hit), hit.mean(), size=resamples or RESAMPLES) * 100.0 / len(hit)
    elif metric == "map":
        table = targets if isinstance(targets, np.ndarray) else multi_hot(targets, rows.shape[1])  # type: ignore[arg-type]
        affordable = max(FEWEST_RESAMPLES, min(RESAMPLES, ELEMENTS // rows.size))
        drawn = _mean_average_precisions(rows, table.astype(bool), resamples or affordable, rng)
    else:
        raise ValueError(f"metric should be top1, top5 or map, got {metric!r}")
    tail = 50.0 * (1.0 - confidence)
    low, high = np.nanpercentile(drawn, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def _mean_average_precisions(
    scores: NDArray, targets: NDArray[np.bool_], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """mAP of each resample in per cent, over the classes that have positives there.

    A resample is a count for each sample, and its average precision that of samples weighted by counts. They are sorted
    once a class; sums of counts between the thresholds of positives are one sparse product for all resamples. Equal
    scores are one threshold, as for scikit-learn.
    """
    from scipy.sparse import csr_array

    n_samples = len(scores)
    counts = rng.multinomial(n_samples, np.full(n_samples, 1 / n_samples), size=resamples).T.astype(
        np.float32, order="C"
    )
    ones = np.ones(n_samples, dtype=np.float32)
    total, classes = np.zeros(resamples), np.zeros(resamples, dtype=np.int64)
    for c in np.flatnonzero(targets.any(axis=0)):
        order = np.argsort(-scores[:, c], kind="stable")
        falling = -scores[order, c]
        positive = np.flatnonzero(targets[order, c])
        ends, step = np.unique(np.searchsorted(falling, falling[positive], side="right"), return_inverse=True)
        between = csr_array((ones[: ends[-1]], order[: ends[-1]], np.r_[0, ends]), shape=(len(ends), n_samples))
        predicted = np.cumsum(between @ counts, axis=0)  # [thresholds, resamples]
        drawn = counts[order[positive]]  # [positives, resamples]
        starts = np.searchsorted(step, np.arange(len(ends)))
        at_threshold = np.add.reduceat(drawn, starts, axis=0)
        precision = np.cumsum(at_threshold, axis=0) / np.maximum(predicted, 1)
        positives = drawn.sum(axis=0)
        there = positives > 0
        total[there] += (precision * at_threshold).sum(axis=0)[there] / positives[there]
        classes += there
    with np.errstate(invalid="ignore"):
        return 100.0 * total / np.where(classes, classes, np.nan)
