from collections import Counter

import pytest
import torch

from tome_zoo.cards.schema import DatasetCard
from tome_zoo.data.dataset import Dataset, Sample
from tome_zoo.training.draws import DrawOrder, RankDraws, class_weights


def order(**fields):
    return DrawOrder(
        **{"n_samples": 23, "per_epoch": 23, "per_step": 4, "repeats": 1, "weights": None, "seed": 1} | fields
    )


def test_an_epoch_has_every_sample_at_most_once_and_another_order_each_time():
    made = order()
    assert made.steps_per_epoch == 5
    first, second = made.epoch(0), made.epoch(1)
    assert len(first) == len(set(first)) == 20
    assert first != second
    assert first == made.epoch(0)
    assert first != order(seed=2).epoch(0)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_together_draw_what_one_process_draws(world_size):
    made = order()
    alone = list(RankDraws(made, 0, 12, 0, 1))
    together = [list(RankDraws(made, 0, 12, rank, world_size)) for rank in range(world_size)]
    per_step = 4 // world_size
    for step in range(12):
        found = [draw for draws in together for draw in draws[step * per_step : (step + 1) * per_step]]
        assert sorted(found) == sorted(alone[4 * step : 4 * step + 4])


def test_a_run_that_goes_on_draws_what_is_left():
    made = order()
    whole = list(RankDraws(made, 0, 12, 1, 2))
    for step in range(12):
        assert list(RankDraws(made, step, 12, 1, 2)) == whole[2 * step :]


def test_augmentation_differs_from_epoch_to_epoch():
    draws = list(RankDraws(order(), 0, 10, 0, 1))
    assert len({draw.seed for draw in draws}) == len(draws)


def test_repeated_augmentation_has_fewer_files_more_often():
    found = Counter(order(repeats=3).epoch(0))
    assert sum(found.values()) == 20
    assert set(found.values()) <= {3, 2}


def test_small_data_fill_a_large_step():
    made = order(n_samples=3, per_epoch=3, per_step=8)
    assert made.steps_per_epoch == 1
    assert Counter(made.epoch(0)).most_common(1)[0][1] == 3


def test_rare_classes_are_drawn_more_often():
    card = DatasetCard(
        name="x", modality="audio", title="x", layout="audioset_json", splits={"train": "t.json"}, num_classes=2,
        multi_label=True, license="", origin="", obtain="",
    )  # fmt: skip
    targets = [(0,)] * 9 + [(1,)] + [(0, 1)]
    samples = tuple(Sample(str(i), None, target) for i, target in enumerate(targets))
    weights = class_weights(Dataset(card, None, "train", samples, ()))
    common, rare = 1000 / 10.01, 1000 / 2.01
    assert weights.tolist() == pytest.approx([common] * 9 + [rare, common + rare])
    made = order(n_samples=11, per_epoch=4, per_step=4, weights=weights)
    found = Counter(i for epoch in range(300) for i in made.epoch(epoch))
    assert found[9] > 1.5 * found[0]
    assert all(len(set(made.epoch(e))) == 4 for e in range(5))
    assert torch.isfinite(weights).all()
