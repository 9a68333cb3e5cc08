"""Scores of a model in per cent: top-1 and top-5 for one class a sample, mean average precision for several."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Aggregate = Literal["softmax_mean", "logit_mean", "none"]


class MeanAveragePrecision(NamedTuple):
    """Mean average precision in per cent, and how many classes went into the mean."""

    map: float
    n_classes: int


def aggregate_views(logits: ArrayLike, how: Aggregate) -> NDArray[np.float64]:
    """One row of scores for a sample from the logits of its views.

    Args:
        logits: `[views, classes]`.
        how: "softmax_mean": softmax of each view, then their mean; "logit_mean": mean of the logits; "none": the logits
            of the only view.

    Returns:
        float64 `[classes]`.

    Raises:
        ValueError: If `how` is "none" and there are several views.
    """
    rows = np.asarray(logits, dtype=np.float64)
    if how == "softmax_mean":
        return softmax(rows).mean(axis=0)
    if how == "none" and len(rows) != 1:
        raise ValueError(f"expected one view for aggregate 'none', got {len(rows)}: choose softmax_mean or logit_mean")
    return rows.mean(axis=0)


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Softmax over the last axis in float64."""
    rows = np.asarray(logits, dtype=np.float64)
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def top_k_accuracy(scores: ArrayLike, targets: ArrayLike, k: int) -> float:
    """Share of samples whose class is among the `k` best scores, in per cent.

    Args:
        scores: `[samples, classes]`, at least one sample.
        targets: Class of each sample, `[samples]`.
        k: How many of the best classes count as a hit.
    """
    return _per_cent(hits(scores, targets, k))


def hits(scores: ArrayLike, targets: ArrayLike, k: int) -> NDArray[np.bool_]:
    """Whether the class of each sample is among its `k` best scores, `[samples]`.

    Equal scores rank by class index, so that a model which gives one value to every class gains nothing by it.
    """
    rows, classes = np.asarray(scores), np.asarray(targets, dtype=np.int64)
    own = np.take_along_axis(rows, classes[:, None], axis=1)
    tied_before = (rows == own) & (np.arange(rows.shape[1]) < classes[:, None])
    rank = (rows > own).sum(axis=1) + tied_before.sum(axis=1)
    return rank < k


def _per_cent(hit: NDArray[np.bool_]) -> float:
    """Their share, rounded once: 487 of 500 are 97.4."""
    return 100 * int(hit.sum()) / hit.size


def multi_hot(targets: Sequence[Sequence[int]], n_classes: int) -> NDArray[np.bool_]:
    """Class indices of each sample -> `[samples, classes]` of True and False."""
    table = np.zeros((len(targets), n_classes), dtype=np.bool_)
    for row, classes in zip(table, targets, strict=True):
        row[list(classes)] = True
    return table


def average_precisions(scores: ArrayLike, targets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """scikit-learn's average precision of each class in per cent, `[classes]`; NaN for a class without positives.

    Args:
        scores: Raw logits, `[samples, classes]`: no sigmoid, which would saturate large ones into ties.
        targets: Whether the sample has the class, `[samples, classes]`.
    """
    from sklearn.metrics import average_precision_score

    rows = np.asarray(scores)
    found = np.full(rows.shape[1], np.nan)
    for c in np.flatnonzero(targets.any(axis=0)):
        found[c] = 100.0 * average_precision_score(targets[:, c], rows[:, c])
    return found


def class_accuracies(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Share of the samples of each class whose class scored best in per cent, `[classes]`; NaN for one without samples.

    Args:
        scores: `[samples, classes]`.
        targets: Class of each sample, `[samples]`.
    """
    rows, classes = np.asarray(scores), np.asarray(targets)
    hit = hits(rows, classes, 1)
    found = np.full(rows.shape[1], np.nan)
    for c in np.unique(classes):
        found[c] = _per_cent(hit[classes == c])
    return found


def mean_average_precision(scores: ArrayLike, targets: NDArray[np.bool_]) -> MeanAveragePrecision:
    """The mean of `average_precisions` over the classes that have positives.

    Args:
        scores: Raw logits, `[samples, classes]`.
        targets: Whether the sample has the class, `[samples, classes]`.

    Raises:
        ValueError: If no class has a positive.
    """
    precisions = average_precisions(scores, targets)
    counted = precisions[~np.isnan(precisions)]
    if not counted.size:
        raise ValueError("expected at least one class with a positive sample, got none: mAP is not defined")
    return MeanAveragePrecision(float(counted.mean()), int(counted.size))


def aucs(scores: ArrayLike, targets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """scikit-learn's area under the ROC curve of each class in per cent, `[classes]`.

    NaN for a class without positives or without negatives.
    """
    from sklearn.metrics import roc_auc_score

    rows = np.asarray(scores)
    found = np.full(rows.shape[1], np.nan)
    for c in np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0)):
        found[c] = 100.0 * roc_auc_score(targets[:, c], rows[:, c])
    return found


def mean_auc(scores: ArrayLike, targets: NDArray[np.bool_]) -> float:
    """The mean of `aucs` over the classes that have one; NaN if there is none."""
    found = aucs(scores, targets)
    counted = found[~np.isnan(found)]
    return float(counted.mean()) if counted.size else np.nan


def d_prime(auc: float) -> float:
    """The sensitivity index of an AUC in per cent: sqrt(2) times the normal quantile, as papers on AudioSet state it.

    Infinite at 0 and 100.
    """
    share = auc / 100.0
    if not 0.0 < share < 1.0:
        return float("nan") if share != share else float("inf") * (1 if share >= 1 else -1)
    return 2**0.5 * NormalDist().inv_cdf(share)
