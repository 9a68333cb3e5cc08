"""The stored scores behind results: which samples they are of, what the right answers were, and how sure they are."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tome_zoo.data.dataset import Dataset, chosen_indices
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.confidence import Interval, bootstrap_interval
from tome_zoo.evaluation.results import Result
from tome_zoo.evaluation.score_store import read_scores
from tome_zoo.evaluation.stored import open_scored, score_folder

log = logging.getLogger(__name__)

TOLERANCE = 0.005  # points of per cent


@dataclass(frozen=True)
class GroupScores:
    """Scores of the results of one group, on the samples that all of them have scored.

    Attributes:
        dataset: As it lies on disk.
        samples: Rows of `dataset.samples`.
        scores: `[samples, classes]` for each r, in float64; as the protocol aggregates them over the views.
    """

    dataset: Dataset
    samples: tuple[int, ...]
    scores: dict[str, NDArray[np.float64]]

    @property
    def targets(self) -> list[tuple[int, ...]]:
        """The classes of each sample."""
        targets = [self.dataset.samples[row].target for row in self.samples]
        return [target if isinstance(target, tuple) else (target,) for target in targets]

    def probabilities(self, r: str, metric: str) -> NDArray[np.float64]:
        """Scores at an r as probabilities, `[samples, classes]`: each class its own for mAP, else adding up to 1."""
        rows = self.scores[r]
        if metric == "map":
            return 1 / (1 + np.exp(-rows))
        softmaxed = rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=1e-3)
        return rows if softmaxed else metrics.softmax(rows)

    def gives(self, result: Result) -> bool:
        """Whether the figure of a result follows from the scores."""
        if result.metric == "map":
            table = metrics.multi_hot(self.targets, self.scores[result.r].shape[1])
            return abs(metrics.mean_average_precision(self.scores[result.r], table)[0] - result.score) < TOLERANCE
        targets = [target[0] for target in self.targets]
        return abs(metrics.top_k_accuracy(self.scores[result.r], targets, 1) - result.score) < TOLERANCE

    def interval(self, r: str, metric: str) -> Interval:
        """The 95 % bootstrap interval of the score at an r."""
        targets: Any = self.targets if metric == "map" else [target[0] for target in self.targets]
        return bootstrap_interval(self.scores[r], targets, metric)  # type: ignore[arg-type]


def read_group_scores(folder: Path, results: Sequence[Result]) -> GroupScores | None:
    """The stored scores of a group; None, with a warning, where scores or data are gone or are of another run.

    Args:
        folder: In which results and scores lie, here or below.
        results: That may be compared, at several r.
    """
    found: dict[str, tuple[list[str], NDArray[Any]]] = {}
    try:
        for result in results:
            place = score_folder(folder if folder.is_dir() else folder.parent, result)
            found[result.r] = read_scores(place)
        dataset = open_scored(results[0], place)
    except TomeZooError as error:
        log.warning("%s: no intervals and no samples: %s", results[0].model, error)
        return None
    chosen = chosen_indices(len(dataset.samples), results[0].limit)
    shared = set.intersection(*(set(ids) for ids, _ in found.values()))
    samples = tuple(row for row in chosen if dataset.samples[row].id in shared)
    scores = {}
    for r, (ids, rows) in found.items():
        position = {sample: row for row, sample in enumerate(ids)}
        scores[r] = rows[[position[dataset.samples[row].id] for row in samples]].astype(np.float64)
    group = GroupScores(dataset, samples, scores)
    if not samples or any(len(samples) == result.n_scored and not group.gives(result) for result in results):
        log.warning("%s: no intervals and no samples: the stored scores are of another run", results[0].model)
        return None
    return group
