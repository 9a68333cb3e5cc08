import json
import math

import pytest
import torch
from safetensors.torch import load_file

import tome_zoo
from tome_zoo import cards, create_model, evaluate, train
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import CardError, CheckpointError, DataError, TomeZooError

SHAPES = "demo_image.shapes"


def weights(result):
    return load_file(result.folder / "model.safetensors")


def test_the_outcome_is_a_model_as_any_other(demo_roots, tmp_path, quick):
    said = []
    result = train(
        SHAPES, demo_roots["shapes"], output=tmp_path / "run", epochs=20, lr=3e-3, r=[0, 20], eval_r=[0, 20],
        ema_decay=0.8, label_smoothing=0.0, progress=lambda *told: said.append(told), **quick,
    )  # fmt: skip
    assert result.steps == 40
    assert said[-1][:2] == (40, 40)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-5:]) < 0.98 * sum(losses[:5])
    assert {line["r"] for line in lines if "r" in line} == {"0", "20"}
    assert (result.folder / "curves.png").stat().st_size > 5000
    cards.register_cards(result.folder)
    try:
        assert result.name == "demo_image.run"
        assert result.name in tome_zoo.list_models()
        model = create_model(result.name, pretrained=True)
        assert model.labels == create_model(SHAPES).labels
        again = evaluate(model, demo_roots["shapes"], r=[0, 20], batch_size=10)
        told = {r.r: (r.score, r.weights) for r in result.results}
        assert all(told[r.r] == (pytest.approx(r.score), r.weights) for r in again)
        measured = {str(m.r): m.top1 for m in cards.model_card(result.name).measured}
        assert measured.keys() == told.keys()
        for r, (score, _) in told.items():
            assert measured[r] == pytest.approx(score)
            assert f"| {r} | {score:.2f} |" in (result.folder / "README.md").read_text()
    finally:
        cards.unregister_cards(result.folder)


@pytest.mark.parametrize(
    ("name", "data", "settings"),
    [
        ("demo_video.motions", "motions", {
            "crop_scale": (0.5, 1.0), "hflip": 0.5, "rand_augment": "rand-m7-mstd0.5-inc1", "random_erasing": 0.5,
            "mixup": 0.8, "cutmix": 1.0, "repeats_per_decode": 2, "dropout": 0.1, "drop_path": 0.1, "batch_size": 4,
        }),
        ("demo_audio.sounds", "sounds", {
            "waveform_mixup": 0.5, "waveform_roll": True, "waveform_gain": 10.0, "time_bar": 40, "frequency_bar": 10,
            "time_patch_drop": 0.2, "frequency_patch_drop": 0.25, "sampling": "class_balanced", "batch_size": 4,
        }),
    ],
)  # fmt: skip
def test_every_augmentation_of_the_published_recipes_runs_and_is_repeatable(
    demo_roots, tmp_path, quick, name, data, settings
):
    options = {**quick, **settings, "epochs": 1, "r": 8, "eval_r": [8]}
    first, second = (train(name, demo_roots[data], output=tmp_path / str(n), **options) for n in range(2))
    other = train(name, demo_roots[data], output=tmp_path / "other", seed=1, **options)
    assert all(torch.equal(value, weights(second)[key]) for key, value in weights(first).items())
    assert not torch.equal(weights(first)["head.weight"], weights(other)["head.weight"])
    assert 0 <= first.results[0].score <= 100


def test_processes_that_decode_change_nothing(demo_roots, tmp_path, quick):
    runs = [
        train(SHAPES, demo_roots["shapes"], output=tmp_path / str(n), epochs=1, **{**quick, "workers": n})
        for n in (0, 2)
    ]
    assert all(torch.equal(value, weights(runs[1])[key]) for key, value in weights(runs[0]).items())


def test_a_classifier_of_other_classes_starts_afresh_and_the_rest_stays(tiny_zoo, tmp_path):
    root = tiny_zoo / "image" / "val"
    model_file = tiny_zoo / "cards" / "image.safetensors"
    data = tmp_path / "own"
    for split in ("train", "val"):
        for name in ("one", "two"):
            folder = data / split / name
            folder.mkdir(parents=True)
            for path in list((root / ("ant" if name == "one" else "bee")).iterdir())[:4]:
                (folder / path.name).write_bytes(path.read_bytes())
    options = {
        "dataset": "image_folder", "epochs": 1, "batch_size": 4, "accum": 1, "lr": 1e-9, "workers": 0, "evaluations": 1,
    }  # fmt: skip
    result = train("tiny_image.test", data, weights=model_file, output=tmp_path / "run", **options)
    made, before = weights(result), load_file(model_file)
    assert made["head.weight"].shape[0] == 2
    assert torch.allclose(made["blocks.0.attn.qkv.weight"], before["blocks.0.attn.qkv.weight"], atol=1e-6)
    assert made["head.weight"].abs().max() < 1e-3
    cards.register_cards(result.folder)
    try:
        assert create_model(result.name, pretrained=True).labels == ("one", "two")
    finally:
        cards.unregister_cards(result.folder)
    larger = train("tiny_image.test", data, output=tmp_path / "larger", architecture={"img_size": 48}, **options)
    assert weights(larger)["pos_embed"].shape[1] == 1 + 36


def test_what_a_teacher_knows_is_learnt(demo_roots, tmp_path, quick):
    result = train(
        SHAPES,
        demo_roots["shapes"],
        output=tmp_path / "run",
        epochs=1,
        r=20,
        teacher=SHAPES,
        distill_weight=1.0,
        **quick,
    )
    assert len(result.results) >= 2
    with pytest.raises(DataError, match="teacher tells 12 classes"):
        train(SHAPES, demo_roots["shapes"], output=tmp_path / "no", teacher="demo_audio.sounds", **quick)


def test_a_loss_that_is_not_finite_names_the_files_and_keeps_the_last_checkpoint(shapes, tmp_path, quick):
    model = create_model(SHAPES, **quick.pop("architecture"))
    calls = []

    def hook(module, inputs, result):
        calls.append(1)
        return result * (math.nan if len(calls) > 2 else 1)

    model.head.register_forward_hook(hook)
    output = tmp_path / "run"
    with pytest.raises(
        TomeZooError, match=r"loss is nan at step 3, on a batch of \w+/000\d\d\.png, .*checkpoint is kept"
    ):
        train(model, shapes, output=output, epochs=3, **quick)
    state = torch.load(output / "checkpoints" / "00000002.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in state["model"].values())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_cannot_be_read_is_counted_and_another_takes_its_place(
    broken_shapes, tmp_path, quick, caplog, workers
):
    result = train(
        SHAPES,
        broken_shapes,
        output=tmp_path / "run",
        epochs=2,
        seed=3,
        **{**quick, "batch_size": 20, "workers": workers},
    )
    assert result.failures == 1
    assert "star/00008.png is left out" in caplog.text


def test_where_nothing_can_be_read_training_ends(broken_shapes, tmp_path, quick):
    for sample in broken_shapes.samples:
        sample.path.write_bytes(b"no image")
    with pytest.raises(DataError, match="16 files in a row"):
        train(SHAPES, broken_shapes, output=tmp_path / "run", **quick)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lr": -1.0}, CardError, "lr"),
        ({"epochs": math.nan}, CardError, "epochs"),
        ({"accum": 0}, TomeZooError, "accum should be at least 1"),
        ({"r": -1}, TomeZooError, "at least 0"),
        ({"save_dtype": "int8"}, TomeZooError, "save_dtype"),
        ({"recipe": "deit_iv"}, CardError, "nearest: deit"),
        ({"fsdp": True, "ema_decay": 0.9}, TomeZooError, "running average"),
        ({"protocol": "audio_clip"}, TomeZooError, "does not suit"),
    ],
)
def test_bad_settings_are_refused(shapes, tmp_path, quick, settings, error, message):
    with pytest.raises(error, match=message):
        train(SHAPES, shapes, output=tmp_path / "run", **{**quick, **settings})


def test_an_encoder_without_weights_says_how_to_start(tiny_zoo, tmp_path, quick):
    data = open_dataset(tiny_zoo / "image", cards.dataset_card("tiny_things"), "val")
    quick.pop("architecture")
    with pytest.raises(CheckpointError, match="--from-scratch"):
        train("tiny_encoder.test", data, output=tmp_path / "run", **quick)
