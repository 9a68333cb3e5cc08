"""How well features tell classes apart: a linear or a nearest-neighbour classifier by scikit-learn, at each r."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tome_zoo import schedule
from tome_zoo.data.dataset import Dataset
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.training.features import Features, embed
from tome_zoo.transformer.macs import count_macs

Kind = Literal["linear", "knn"]
NEIGHBOURS = 20


@dataclass(frozen=True)
class ProbeResult:
    """The score of a probe, in per cent.

    Attributes:
        r: As the command line writes it.
        metric: "top1", or "map" where a sample may have several classes.
        gmacs: Of one view of the encoder.
        n_train: Samples that it was fitted on; `n_test`: that it was scored on.
    """

    r: str
    kind: Kind
    metric: str
    score: float
    gmacs: float
    n_train: int
    n_test: int


def probe(
    model: ZooModel,
    train: Dataset,
    test: Dataset,
    *,
    r: Sequence[R] = (0,),
    kind: Kind = "linear",
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> list[ProbeResult]:
    """Fit a classifier on frozen features and score it, at each r.

    Args:
        model: An encoder, or any model; its own classifier is left out.
        train: What is fitted on; `test` what is scored.
        test: Of the same data set.
        r: Schedules; both splits are merged alike.
        kind: "linear" (logistic regression on standardised features) or "knn" (cosine, 20 neighbours weighted by
            distance).
        progress: Called with (samples done, samples to do) of one split at one r.
        **options: Arguments of `embed`.

    Raises:
        TomeZooError: If `kind` is unknown.
    """
    if kind not in ("linear", "knn"):
        raise TomeZooError(f"a probe is linear or knn, got {kind!r}")
    found = []
    for item in r:
        fitted, scored = (embed(model, data, r=item, progress=progress, **options) for data in (train, test))
        scores = probe_scores(fitted, scored, kind, train.num_classes)
        metric, score = _score(scores, scored.targets)
        gmacs = count_macs(model, item).gmacs
        found.append(ProbeResult(schedule.format(item), kind, metric, score, gmacs, len(fitted.ids), len(scored.ids)))
    return found


def probe_scores(train: Features, test: Features, kind: Kind, num_classes: int) -> NDArray[np.float64]:
    """Scores of every class for the test samples, float64 `[samples, classes]`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, targets = train.features.reshape(len(train.ids), -1), _targets(train)
    asked = test.features.reshape(len(test.ids), -1)
    table = targets if targets.ndim == 2 else np.eye(num_classes)[targets]
    if kind == "knn":
        count = min(NEIGHBOURS, len(known))
        model = KNeighborsRegressor(count, weights="distance", metric="cosine").fit(known, table)
        return np.asarray(model.predict(asked), dtype=np.float64)
    scores = np.full((len(asked), num_classes), -np.inf)
    if targets.ndim == 2:
        seen = np.flatnonzero(table.any(axis=0) & ~table.all(axis=0))
        model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=1000)))
        scores[:, seen] = model.fit(known, table[:, seen]).decision_function(asked).reshape(len(asked), -1)
        return np.where(np.isfinite(scores), scores, -1e9)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(known, targets)
    scores[:, model.classes_] = model.predict_proba(asked)
    return scores


def _targets(features: Features) -> NDArray[Any]:
    if features.targets is None:
        raise TomeZooError("a probe needs the classes of the samples: name the data set that they are of")
    return features.targets


def _score(scores: NDArray[np.float64], targets: NDArray[Any] | None) -> tuple[str, float]:
    if targets is None:
        raise TomeZooError("a probe needs the classes of the samples: name the data set that they are of")
    if targets.ndim == 2:
        return "map", metrics.mean_average_precision(scores, targets).map
    return "top1", metrics.top_k_accuracy(scores, targets, 1)
