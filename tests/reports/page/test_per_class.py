"""Cost of merging by class and the samples whose prediction changes, against loops."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tome_zoo.reports.page.changes import find_changes, most_telling
from tome_zoo.reports.page.per_class import class_costs, most_changed
from tome_zoo.reports.page.scores import GroupScores


def group_scores(targets, **scores):
    dataset = SimpleNamespace(samples=[SimpleNamespace(id=str(i), target=t) for i, t in enumerate(targets)])
    rows = {r[1:]: np.asarray(values, dtype=np.float64) for r, values in scores.items()}
    return GroupScores(dataset, tuple(range(len(targets))), rows)


@pytest.fixture
def random_scores():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 7, 200).tolist()
    return group_scores(targets, r0=rng.random((200, 8)), r4=rng.random((200, 8)))


def test_accuracy_of_each_class(random_scores):
    costs = class_costs(random_scores, "4", "top1", [f"class {c}" for c in range(8)])
    assert len(costs) == 7  # the eighth class has no sample
    assert [cost.difference for cost in costs] == sorted(cost.difference for cost in costs)
    for cost in costs:
        c = int(cost.label.split()[1])
        own = [row for row, target in enumerate(random_scores.targets) if target == (c,)]
        for r, value in (("0", cost.unmerged), ("4", cost.merged)):
            right = sum(int(np.argmax(random_scores.scores[r][row]) == c) for row in own)
            assert value == pytest.approx(100 * right / len(own))
        assert cost.n_samples == len(own)


def test_average_precision_of_each_class():
    rng = np.random.default_rng(1)
    targets = [tuple(np.flatnonzero(rng.random(4) < 0.4).tolist()) for _ in range(60)]
    scores = group_scores(targets, r0=rng.normal(size=(60, 4)), r8=rng.normal(size=(60, 4)))
    for cost in class_costs(scores, "8", "map", "abcd"):
        c = "abcd".index(cost.label)
        truth = [c in target for target in targets]
        assert cost.unmerged == pytest.approx(100 * average_precision_score(truth, scores.scores["0"][:, c]))
        assert cost.merged == pytest.approx(100 * average_precision_score(truth, scores.scores["8"][:, c]))
        assert cost.n_samples == sum(truth)


def test_of_many_classes_the_extremes_are_shown():
    rng = np.random.default_rng(0)
    scores = group_scores(list(range(30)) * 4, r0=rng.random((120, 30)), r4=rng.random((120, 30)))
    costs = class_costs(scores, "4", "top1", [str(c) for c in range(30)])
    assert most_changed(costs) == [*costs[:5], *costs[-5:]]
    assert most_changed(costs[:10]) == costs[:10]


def test_changes_come_worst_first():
    before = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.3, 0.7]]
    after = [[0.4, 0.6], [0.1, 0.9], [0.6, 0.4], [0.8, 0.2], [0.6, 0.4]]
    changes = find_changes(group_scores([0, 0, 0, 0, 1], r0=before, r8=after), "8", "top1")
    assert [(change.row, change.verdict) for change in changes] == [
        (0, "lost"),
        (1, "lost"),
        (4, "lost"),
        (2, "gained"),
    ]
    assert [change.drop for change in changes] == pytest.approx([0.5, 0.5, 0.3, -0.4])
    assert (changes[0].unmerged, changes[0].merged) == ((0,), (1,))


def test_a_change_among_wrong_classes_is_still_wrong():
    (change,) = find_changes(group_scores([2], r0=[[0.5, 0.3, 0.2]], r4=[[0.3, 0.5, 0.2]]), "4", "top1")
    assert change.verdict == "still wrong"


def test_samples_of_several_classes_compare_sets():
    scores = group_scores([(0, 1), (0, 1), ()], r0=[[3, 2, 1]] * 3, r4=[[2, 3, 1], [3, 1, 2], [1, 2, 3]])
    (change,) = find_changes(scores, "4", "map")
    assert (change.row, change.merged, change.verdict) == (1, (0, 2), "lost")


def test_samples_for_sliders_change_first_and_then_spread():
    before = [[0.9, 0.1]] * 100
    after = [[0.1, 0.9] if row in (40, 50) else [0.9, 0.1] for row in range(100)]
    changes = find_changes(group_scores([0] * 100, r0=before, r8=after), "8", "top1")
    assert most_telling([changes], 100, 3) == [40, 50, 0]
    assert most_telling([[]], 100, 3) == [0, 50, 99]
    assert most_telling([], 2, 3) == [0, 1]
