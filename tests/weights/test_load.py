"""Loading into a model: strict, and clear about what does not fit."""

import pytest
import torch
from safetensors.torch import save_file

import tome_zoo
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.load import load_state, read_converted

NAME = "deit_tiny_patch16_224.fb_in1k"
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 4}


@pytest.fixture
def model():
    return tome_zoo.create_model(NAME, **TINY)


def write(path, model, **changes):
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, path)
    return path


def load(model, path, layout=None):
    """Into a model that is there already, as training goes on from a checkpoint."""
    state, found = read_converted(path, model.card.architecture, layout)
    load_state(model, state, source=f"{path} (layout {found})")


def test_a_live_model_keeps_its_parameters(model, tmp_path):
    """An optimiser that holds the parameters keeps working."""
    other = tome_zoo.create_model(NAME, **TINY)
    before = list(other.parameters())
    load(other, write(tmp_path / "w.safetensors", model))
    assert all(a is b for a, b in zip(before, other.parameters(), strict=True))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(other(x), model(x))


def test_half_precision_files_load_as_float32(model, tmp_path):
    state = {key: value.detach().to(torch.bfloat16) for key, value in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = tome_zoo.create_model(NAME, weights=tmp_path / "w.safetensors", **TINY)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.head.weight, model.head.weight.bfloat16().float())


def test_the_file_may_go_once_it_is_loaded(model, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(model.state_dict(), path)
    loaded = tome_zoo.create_model(NAME, weights=path, **TINY)
    path.write_bytes(b"")
    torch.testing.assert_close(loaded.head.weight, model.head.weight)


def test_first_keys_of_every_kind_are_listed(model, tmp_path):
    path = write(
        tmp_path / "w.safetensors",
        model,
        **{"blocks.0.norm1.weight": None, "blocks.9.norm1.weight": torch.zeros(1), "cls_token": torch.zeros(1, 1, 5)},
    )
    with pytest.raises(CheckpointError) as caught:
        load(model, path)
    message = str(caught.value)
    assert "w.safetensors (layout timm) does not fit the model" in message
    assert "1 missing (blocks.0.norm1.weight)" in message
    assert "1 unexpected (blocks.9.norm1.weight)" in message
    assert "1 mis-shaped (cls_token (1, 1, 5) where (1, 1, 24) is expected)" in message


def test_a_file_of_another_layout_is_refused(model, tmp_path, golden):
    swag = {key.removeprefix("weights."): v for key, v in golden("swag").items() if key.startswith("weights.")}
    torch.save(swag, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"layout swag.*unexpected \(blocks.2.norm1.*mis-shaped"):
        load(model, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"layout timm.*missing \(cls_token.*unexpected \(class_token"):
        load(model, tmp_path / "w.pth", layout="timm")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: the keys are of no layout known here"):
        load(model, tmp_path / "w.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(model, tmp_path, value):
    bad = model.head.bias.detach().clone()
    bad[1] = value
    before = model.head.weight.detach().clone()
    with pytest.raises(CheckpointError, match=r"'head.bias' has values that are not finite"):
        load(model, write(tmp_path / "w.safetensors", model, **{"head.bias": bad}))
    assert torch.equal(model.head.weight, before)


def test_integers_are_no_weights(model, tmp_path):
    path = write(tmp_path / "w.safetensors", model, **{"head.bias": torch.zeros(4, dtype=torch.int64)})
    with pytest.raises(CheckpointError, match=r"'head.bias' holds torch.int64"):
        load(model, path)


def test_distilled_deit_is_another_model(golden):
    model = tome_zoo.create_model(NAME, img_size=64, patch_size=8, embed_dim=48, depth=6, num_heads=3, num_classes=10)
    state = {k.removeprefix("weights."): v for k, v in golden("deit_distilled").items() if k.startswith("weights.")}
    with pytest.raises(CheckpointError, match=r"3 unexpected \(dist_token, head_dist.bias.*1 mis-shaped \(pos_embed"):
        load_state(model, state, source="file")


@pytest.mark.parametrize("use_ema", [None, True, False])
def test_create_model_chooses_between_raw_and_averaged_weights(model, tmp_path, use_ema):
    raw = {f"module.{key}": value for key, value in model.state_dict().items()}
    averaged = {f"module.{key}": value + 1 for key, value in model.state_dict().items()}
    torch.save({"model": raw, "model_ema": averaged}, tmp_path / "w.pth")
    loaded = tome_zoo.create_model(NAME, weights=tmp_path / "w.pth", use_ema=use_ema, **TINY)
    expected = model.head.weight + (0 if use_ema is False else 1)
    assert torch.equal(loaded.head.weight, expected)


@pytest.mark.parametrize("classes", [7, 0])
def test_a_classifier_of_another_size_is_new_only_where_asked(model, tmp_path, classes, caplog):
    path = write(tmp_path / "w.safetensors", model)
    shape = {key: value for key, value in TINY.items() if key != "num_classes"}
    with pytest.raises(CheckpointError, match=r"head.weight \(4, 24\).*The file has 4 classes: pass num_classes=4"):
        tome_zoo.create_model(NAME, weights=path, **shape)
    loaded = tome_zoo.create_model(NAME, weights=path, num_classes=classes, **shape)
    assert torch.equal(loaded.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)
    assert loaded.num_classes == classes
    assert (f"the classifier of {classes} classes is new" in caplog.text) == (classes > 0)
    if classes:
        assert 0.01 < loaded.head.weight.std() < 0.03
        assert torch.equal(loaded.head.bias, torch.zeros(classes))
