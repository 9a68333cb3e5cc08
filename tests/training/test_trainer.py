import json
import math

import pytest
import torch
from safetensors.torch import load_file
from tome_zoo.training.in_memory import decode, evaluate_examples

from tome_zoo import cards, create_model, demo
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.training.init_weights import positions
from tome_zoo.training.trainer import train

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = demo.write_data("shapes", tmp_path_factory.mktemp("shapes"), split="train", count=20)
    return open_dataset(root, cards.dataset_card("shapes"), "train")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    root = demo.write_data("sounds", tmp_path_factory.mktemp("sounds"), split="train", count=8)
    return open_dataset(root, cards.dataset_card("sounds"), "train")


def test_it_learns_by_heart_and_saves_what_it_learnt(shapes, tmp_path):
    model = create_model("demo_image.shapes", **TINY)
    output, log = tmp_path / "w.safetensors", tmp_path / "logs" / "h.jsonl"
    said = []
    result = train(
        model, shapes, validation=shapes, epochs=30, batch_size=10, lr=3e-3, average=0.8, label_smoothing=0.0,
        output=output, history=log, progress=lambda *line: said.append(line),
    )  # fmt: skip
    assert len(result.history) == 30
    assert result.history[-1].loss < 0.9 * result.history[0].loss
    assert result.history[-1].score > 30  # of 10 classes
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == list(range(1, 31))
    assert said[-1][:2] == (60, 60)
    assert not model.training
    saved = load_file(output)
    assert set(saved) == set(model.state_dict())
    assert all(value.dtype == torch.float16 for value in saved.values())
    again = create_model("demo_image.shapes", weights=output, **TINY)
    assert {value.dtype for value in again.state_dict().values()} == {torch.float32}
    assert evaluate_examples(again, decode(again, shapes)) == pytest.approx(result.history[-1].score, abs=5.1)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_seed_repeats_a_training_with_merging_in_it(shapes):
    runs = []
    for seed in (1, 1, 2):
        model = create_model("demo_image.shapes", r=3, **TINY)
        train(
            model,
            shapes,
            epochs=2,
            batch_size=10,
            r=(0, 20, [40, 4]),
            augment=("flip", "turn"),
            seed=seed,
            optimizer="muon",
        )
        assert model.r == 3
        runs.append(model.state_dict())
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
    assert not torch.equal(runs[0]["head.weight"], runs[2]["head.weight"])


def test_several_labels_a_sample(sounds):
    model = create_model("demo_audio.sounds", **TINY)
    result = train(model, sounds, validation=sounds, epochs=2, batch_size=4, augment=("delay", "noise"))
    assert 0 <= result.history[-1].score <= 100


def test_a_model_may_go_on_from_its_own_weights(shapes):
    model = create_model("demo_image.shapes", **TINY)
    before = model.pos_embed.clone()
    train(model, shapes, epochs=0.5, batch_size=10, lr=1e-9, from_nothing=False)
    assert torch.allclose(model.pos_embed, before, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(shapes, tmp_path):
    model = create_model("demo_image.shapes", **TINY)
    output = tmp_path / "w.safetensors"

    def hook(module, inputs, result):
        return result * math.nan if output.exists() else result

    model.head.register_forward_hook(hook)
    with pytest.raises(TomeZooError, match=r"loss is nan at step 3 of 8.*holds the weights of epoch 1"):
        train(model, shapes, epochs=4, batch_size=10, output=output)
    assert all(torch.isfinite(value).all() for value in load_file(output).values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr should be a positive number, got -1.0"),
        ({"epochs": math.nan}, "epochs should be"),
        ({"batch_size": 0}, "batch_size should be"),
        ({"optimizer": "sgd"}, "adamw or muon"),
        ({"r": ()}, "at least one r"),
        ({"r": (-1,)}, "at least 0"),
        ({"augment": ("twirl",)}, "no augmentation is named 'twirl'"),
    ],
)
def test_bad_settings_are_refused(shapes, settings, message):
    with pytest.raises(TomeZooError, match=message):
        train(create_model("demo_image.shapes", **TINY), shapes, **settings)


def test_a_model_of_another_class_count_is_refused(shapes):
    with pytest.raises(DataError, match="num_classes=10"):
        train(create_model("demo_image.shapes", num_classes=7, **TINY), shapes)


def test_samples_that_cannot_be_decoded_are_left_out(tmp_path, caplog):
    root = demo.write_data("shapes", tmp_path, split="train", count=10)
    (root / "train" / "star" / "00008.png").write_bytes(b"no image")
    data = open_dataset(root, cards.dataset_card("shapes"), "train")
    model = create_model("demo_image.shapes", **TINY)
    assert len(decode(model, data).views) == 9
    assert "00008.png" in caplog.text
    for path in (root / "train").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 10 samples"):
        decode(model, data)


def test_positions_tell_every_token_apart():
    for grid, width in (((1, 12, 12), 96), ((4, 8, 8), 96), ((1, 32, 8), 50)):
        table = positions(grid, width)
        assert table.shape == (math.prod(grid), width)
        distances = torch.cdist(table, table) + 10 * torch.eye(len(table))
        assert distances.min() > 0.1
