"""Stored scores are found again, and taken only where they are those of the result."""

import dataclasses

import numpy as np
import pytest

from tome_zoo.evaluation.confidence import bootstrap_interval
from tome_zoo.reports.comparison import find_results
from tome_zoo.reports.page.scores import read_group_scores
from tome_zoo.reports.tables import group_results


@pytest.fixture
def groups(evaluated, tiny_zoo):
    return {group[0].modality: group for group in group_results(find_results(evaluated))}


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_the_figures_follow_from_the_scores(groups, evaluated, modality):
    group = groups[modality]
    scores = read_group_scores(evaluated, group)
    assert list(scores.scores) == [result.r for result in group]
    assert len(scores.samples) == group[0].n_scored
    for result in group:
        assert scores.gives(result)
        metric = result.metric
        targets = scores.targets if metric == "map" else [target[0] for target in scores.targets]
        interval = scores.interval(result.r, metric)
        assert interval == bootstrap_interval(scores.scores[result.r], targets, metric)
        assert interval.low <= result.score <= interval.high
        probabilities = scores.probabilities(result.r, metric)
        assert (probabilities >= 0).all()
        if metric != "map":
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_scores_of_another_run_are_not_taken(groups, evaluated, caplog):
    other = [dataclasses.replace(result, top1=result.top1 + 1) for result in groups["image"]]
    assert read_group_scores(evaluated, other) is None
    assert "another run" in caplog.text


def test_without_scores_or_data_there_are_none(groups, evaluated, tmp_path, caplog):
    assert read_group_scores(tmp_path, groups["image"]) is None
    assert "expected scores of tiny_image.test" in caplog.text
    moved = [dataclasses.replace(result, root=str(tmp_path / "gone")) for result in groups["image"]]
    assert read_group_scores(evaluated, moved) is None
    assert "no such folder" in caplog.text


def test_a_limited_run_takes_its_own_samples(tiny_zoo, tmp_path):
    from tome_zoo.evaluation.evaluator import evaluate

    evaluate("tiny_image.test", tiny_zoo / "image", r=[0, 2], output=tmp_path)
    limited = evaluate("tiny_image.test", tiny_zoo / "image", r=[0, 2], output=tmp_path, limit=5)
    scores = read_group_scores(tmp_path, limited)
    assert len(scores.samples) == 5
