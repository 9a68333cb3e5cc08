"""Published layouts on the golden vectors, merged and unmerged, and in the variants that files come in."""

import contextlib
import re
from typing import get_args

import pytest
import torch

import tome_zoo
from tome_zoo.cards.schema import Layout
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.layouts import convert, recognise, sinusoid
from tome_zoo.weights.rename import fuse_qkv

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


def test_mae_st_of_another_width_is_refused(golden):
    card = tome_zoo.create_model(MODELS["mae_st_video"][0], device="meta").card
    with pytest.raises(CheckpointError, match=r"pos_embed_spatial has shape \(1, 16, 48\).*1024 channels"):
        convert(weights_of(golden("mae_st_video")), "mae_st", card.architecture)


@pytest.mark.parametrize("name", MODELS)
def test_flattened_tensors_are_refused_by_name(name, golden, tmp_path):
    """Some programs store every tensor as one axis; no shape can be told from that."""
    state = {key: value.flatten() for key, value in weights_of(golden(name)).items()}
    with pytest.raises(CheckpointError, match=r"flattened|shape|mis-shaped"):
        load(name, state, tmp_path)
    for layout in get_args(Layout):
        architecture = tome_zoo.create_model(MODELS[name][0], device="meta", **MODELS[name][2]).card.architecture
        with contextlib.suppress(CheckpointError):
            convert(state, layout, architecture)
        with contextlib.suppress(CheckpointError):
            convert({key: value.sum() for key, value in state.items()}, layout, architecture)


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


def ast_pair():
    """A small AST of transformers with random weights, and its state dict as the authors' code names it."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192, max_length=64,
        num_mel_bins=32, frequency_stride=10, time_stride=10, num_labels=7, layer_norm_eps=1e-6,
    )  # fmt: skip
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state, top = {}, model.audio_spectrogram_transformer
    for name, value in (
        ("v.cls_token", top.embeddings.cls_token),
        ("v.dist_token", top.embeddings.distillation_token),
        ("v.pos_embed", top.embeddings.position_embeddings),
    ):
        state[name] = value
    for name, module in (
        ("v.patch_embed.proj", top.embeddings.patch_embeddings.projection),
        ("v.norm", top.layernorm),
        ("mlp_head.0", model.classifier.layernorm),
        ("mlp_head.1", model.classifier.dense),
        ("v.head", torch.nn.Linear(48, 1000)),
        ("v.head_dist", torch.nn.Linear(48, 1000)),
    ):
        state |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    known = model.state_dict()
    for number in range(2):
        found = {key: value for key, value in known.items() if re.search(rf"(layer|layers)\.{number}\.", key)}

        def part(pattern, kind, found=found):
            return next(value for key, value in found.items() if re.search(rf"{pattern}\.{kind}$", key))

        for kind in ("weight", "bias"):
            rows = [part(rf"attention\.({name}|{name[0]}_proj)", kind) for name in ("query", "key", "value")]
            state[f"v.blocks.{number}.attn.qkv.{kind}"] = torch.cat(rows)
            for ours, theirs in (
                ("attn.proj", r"attention\.(output\.dense|o_proj)"),
                ("norm1", "layernorm_before"),
                ("norm2", "layernorm_after"),
                ("mlp.fc1", r"(intermediate\.dense|mlp\.fc1)"),
                ("mlp.fc2", r"(?<!attention\.)(output\.dense|mlp\.fc2)"),
            ):
                state[f"v.blocks.{number}.{ours}.{kind}"] = part(theirs, kind)
    return model, {f"module.{key}": value.detach().clone() for key, value in state.items()}


def test_ast_of_its_authors_equals_that_of_transformers(tmp_path):
    reference, state = ast_pair()
    torch.save(state, tmp_path / "audioset.pth")
    small = {"img_size": (64, 32), "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 7}
    model = tome_zoo.create_model(
        "audio_vit_base_patch16_1024x128.ast_as2m_ft", weights=tmp_path / "audioset.pth", **small
    )
    x = torch.randn(2, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(x[:, None]), reference(x).logits, atol=1e-5, rtol=1e-5)
