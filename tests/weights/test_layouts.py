"""Published layouts on the golden vectors, merged and unmerged, and in the variants that files come in."""

import re

import pytest
import torch

import tome_zoo
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.layouts import convert, fuse_qkv, recognise, sinusoid

SMALL = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 6, "num_heads": 3}
MODELS = {
    "timm_vit": ("vit_base_patch16_224.augreg_in21k_ft_in1k", "timm", {**SMALL, "num_classes": 10}),
    "mae_image": ("vit_base_patch16_224.mae_ft_in1k", "mae", {**SMALL, "num_classes": 10}),
    "swag": ("vit_base_patch16_384.swag_e2e_in1k", "swag", {**SMALL, "num_classes": 10}),
    "audiomae": (
        "audio_vit_base_patch16_1024x128.audiomae_as2m_ft",
        "audiomae",
        {"img_size": (128, 32), "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 9},
    ),
    "mae_st_video": (
        "video_vit_large_patch16_224.mae_st_k400",  # an encoder: the file brings its 7 classes
        "mae_st",
        {"img_size": 32, "patch_size": 8, "num_frames": 4, "embed_dim": 48, "depth": 4, "num_heads": 3},
    ),
}


def weights_of(tensors):
    return {key.removeprefix("weights."): value for key, value in tensors.items() if key.startswith("weights.")}


def load(name, state, tmp_path):
    card, _, overrides = MODELS[name]
    torch.save({"model": state}, tmp_path / "w.pth")
    return tome_zoo.create_model(card, weights=tmp_path / "w.pth", **overrides)


def schedule(text):
    numbers = [float(part) if "." in part else int(part) for part in re.findall(r"-?\d+(?:\.\d+)?", text)]
    if not text.startswith("["):
        return numbers[0]
    return tuple(numbers) if isinstance(numbers[-1], float) else numbers


@pytest.mark.parametrize("name", MODELS)
def test_golden_logits(name, golden, tmp_path):
    tensors = golden(name)
    state = weights_of(tensors)
    assert recognise(state) == MODELS[name][1]
    model = load(name, state, tmp_path)
    checked = 0
    for key, expected in tensors.items():
        if match := re.fullmatch(r"logits\.(?:unpatched|(?:prop_(True|False)\.)?r_(.*))", key):
            model.prop_attn, model.r = match[1] == "True", schedule(match[2] or "0")
            torch.testing.assert_close(model(tensors["input"]), expected, atol=1e-4, rtol=0)
            checked += 1
    assert checked >= 7


def test_mae_st_variants_give_the_same_model(golden, tmp_path):
    tensors = golden("mae_st_video")
    state, x = weights_of(tensors), tensors["input"]
    expected = load("mae_st_video", state, tmp_path)(x)

    fused = fuse_qkv(state)  # PySlowFast
    fused = {key.replace("head.", "head.projection."): value for key, value in fused.items()}
    assert "blocks.0.attn.qkv.weight" in fused
    assert recognise(fused) == "mae_st"
    torch.testing.assert_close(load("mae_st_video", fused, tmp_path)(x), expected)

    decoder = {
        name: torch.zeros(2) for name in ("decoder_embed.weight", "mask_token", "pred_head.transforms.0.0.weight")
    }
    torch.testing.assert_close(load("mae_st_video", state | decoder, tmp_path)(x), expected)

    parts = ("pos_embed_spatial", "pos_embed_temporal", "pos_embed_class")
    joint = {key: value for key, value in state.items() if key not in parts}
    space, time = state["pos_embed_spatial"], state["pos_embed_temporal"]
    grid = torch.stack([space[0, s] + time[0, t] for t in range(2) for s in range(16)])
    joint["pos_embed"] = torch.cat([state["pos_embed_class"], grid[None]], dim=1)
    torch.testing.assert_close(load("mae_st_video", joint, tmp_path)(x), expected)


def test_mae_st_encoder_has_no_head_but_its_norm(golden, tmp_path):
    tensors = golden("mae_st_video")
    state = {key: value for key, value in weights_of(tensors).items() if not key.startswith("head.")}
    encoder = load("mae_st_video", state, tmp_path)
    assert encoder.num_classes == 0
    tuned = load("mae_st_video", weights_of(tensors), tmp_path)
    torch.testing.assert_close(tuned.head(encoder(tensors["input"])), tensors["logits.r_0"], atol=1e-4, rtol=0)


def test_mae_st_for_another_clip_is_refused(golden):
    card = tome_zoo.create_model(MODELS["mae_st_video"][0], device="meta").card
    with pytest.raises(CheckpointError, match=r"pos_embed_spatial has shape \(1, 16, 48\).*8 x 14 x 14 tokens of 1024"):
        convert(weights_of(golden("mae_st_video")), "mae_st", card.architecture)


def test_mae_st_without_qkv_bias(golden):
    card = tome_zoo.create_model(MODELS["mae_st_video"][0], device="meta", **MODELS["mae_st_video"][2]).card
    state = {k: v for k, v in weights_of(golden("mae_st_video")).items() if not re.search(r"attn\.[qkv]\.bias", k)}
    assert not any(key.endswith("qkv.bias") for key in convert(state, "mae_st", card.architecture))
    del state["blocks.1.attn.k.weight"]
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn: expected a q, k and v weight of one shape"):
        convert(state, "mae_st", card.architecture)


def test_swag_of_torchvision_equals_that_of_torch_hub(golden, tmp_path):
    tensors = golden("swag")
    state = weights_of(tensors)
    renamed = {
        key.replace("layers.layer_", "layers.encoder_layer_")
        .replace("mlp.linear_1", "mlp.0")
        .replace("mlp.linear_2", "mlp.3")
        .replace("head.layers.head", "heads.head"): value
        for key, value in state.items()
    }
    renamed["encoder.pos_embedding"] = state["encoder.pos_embedding"].permute(1, 0, 2)
    assert recognise(renamed) == "torchvision"
    model = load("swag", renamed, tmp_path)
    torch.testing.assert_close(model(tensors["input"]), tensors["logits.unpatched"], atol=1e-4, rtol=0)


def test_pretrained_mae_becomes_an_encoder(golden, tmp_path):
    tensors = golden("mae_image")
    state = {k.replace("fc_norm", "norm"): v for k, v in weights_of(tensors).items() if not k.startswith("head")}
    state |= {"mask_token": torch.zeros(1), "decoder_pos_embed": torch.zeros(1), "decoder_blocks.0.x": torch.zeros(1)}
    assert recognise(state) == "mae"
    name, _, overrides = MODELS["mae_image"]
    torch.save(state, tmp_path / "w.pth")
    encoder = tome_zoo.create_model(name, weights=tmp_path / "w.pth", **overrides | {"num_classes": 0})
    tuned = load("mae_image", weights_of(tensors), tmp_path)
    torch.testing.assert_close(tuned.head(encoder(tensors["input"])), tensors["logits.unpatched"], atol=1e-4, rtol=0)


def test_sinusoid_against_the_formula():
    table = sinusoid(5, 6)[0]
    for position in range(5):
        for channel in range(6):
            angle = torch.tensor(position / 10000 ** (2 * (channel // 2) / 6), dtype=torch.float64)
            expected = angle.cos() if channel % 2 else angle.sin()
            assert table[position, channel].item() == pytest.approx(expected.item(), abs=1e-7)


def test_foreign_keys_are_of_no_layout():
    with pytest.raises(CheckpointError, match=r"no layout known here .*the first are conv1.weight, fc.weight"):
        recognise({"conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)})
    card = tome_zoo.create_model(MODELS["swag"][0], device="meta").card
    with pytest.raises(CheckpointError, match="no layout is named 'keras'"):
        convert({}, "keras", card.architecture)
