import numpy as np
import pytest

from tome_zoo import cards, create_model
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import TomeZooError
from tome_zoo.training.features import Features
from tome_zoo.training.probe import probe, probe_scores


def features(rows, targets):
    return Features(tuple(map(str, range(len(rows)))), np.asarray(rows, np.float32), np.asarray(targets), (), ())


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_classes_that_lie_apart_are_told_apart(kind):
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    rows = np.eye(3)[targets] * 4 + rng.normal(size=(60, 3)) * 0.3
    scores = probe_scores(features(rows[:40], targets[:40]), features(rows[40:], targets[40:]), kind, 4)
    assert scores.shape == (20, 4)
    assert (scores.argmax(axis=1) == targets[40:]).all()
    several = np.stack([targets != 0, targets == 1, np.zeros(60, bool)], axis=1)
    scores = probe_scores(features(rows[:40], several[:40]), features(rows[40:], several[40:]), kind, 3)
    for column in (0, 1):
        own, other = scores[several[40:, column], column], scores[~several[40:, column], column]
        assert own.min() > other.max()


def test_it_is_scored_at_each_r(demo_roots):
    model = create_model("demo_audio.sounds", pretrained=True)
    train, val = (open_dataset(demo_roots["sounds"], cards.dataset_card("sounds"), split) for split in ("train", "val"))
    results = probe(model, train, val, r=[0, 32], kind="knn")
    assert [result.r for result in results] == ["0", "32"]
    assert results[0].gmacs > results[1].gmacs
    assert all(result.metric == "map" and 0 <= result.score <= 100 for result in results)
    with pytest.raises(TomeZooError, match="linear or knn"):
        probe(model, train, val, kind="tree")
