import pytest

from tome_zoo import cards, demo
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError
from tome_zoo.training.recipe import choose_recipe


@pytest.mark.parametrize("name", demo.MAKERS)
def test_what_is_written_opens_as_its_card_says(name, tmp_path):
    steps = []
    root = demo.write_data(
        name, tmp_path / name, split="train", count=12, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(done, 12) for done in range(1, 13)]
    card = cards.dataset_card(name)
    data = open_dataset(root, card, "train")
    assert len(data) == 12
    assert data.labels == demo.MAKERS[name].LABELS == cards.labels(name)
    assert all(sample.path.is_file() for sample in data.samples)


def test_training_and_validation_differ(tmp_path):
    for split in ("train", "val"):
        demo.write_data("shapes", tmp_path, split=split, count=10)
    pairs = zip(sorted((tmp_path / "train").rglob("*.png")), sorted((tmp_path / "val").rglob("*.png")), strict=True)
    assert all(ours.read_bytes() != other.read_bytes() for ours, other in pairs)
    assert demo.SEEDS["train"] != demo.SEEDS["val"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "shape"}, "there are shapes, motions, sounds"),
        ({"name": "shapes", "split": "test"}, "splits train, val"),
        ({"name": "shapes", "count": 0}, "at least 1"),
    ],
)
def test_bad_requests_say_what_there_is(arguments, message, tmp_path):
    with pytest.raises(DataError, match=message):
        demo.write_data(root=tmp_path, **arguments)


def test_every_embedded_model_has_a_data_set_and_a_recipe():
    assert set(demo.COUNTS) == set(demo.MODELS.values()) == set(demo.MAKERS)
    for name, dataset in demo.MODELS.items():
        assert cards.model_card(name).dataset == dataset
        assert choose_recipe(cards.model_card(name)).models == (name,)
