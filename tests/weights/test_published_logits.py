"""Converted random weights against independent implementations with the same weights, at a narrow width, r = 0."""

import re

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

import tome_zoo
from tome_zoo.weights.layouts import recognise

transformers = pytest.importorskip("transformers")

NARROW = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 5}
PICTURE = {"img_size": 64, "patch_size": 8, **NARROW}
CLIP = {"img_size": 32, "patch_size": 8, "num_frames": 6, **NARROW}
HF = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192, "num_labels": 5}


def randomise(model):
    """No parameter keeps a value that would hide a mistake, such as zero biases or unit norms."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


def check(name, overrides, path, x, expected, layout):
    state = load_file(path) if str(path).endswith(".safetensors") else torch.load(path)
    assert recognise(state) == layout
    model = tome_zoo.create_model(name, weights=path, **overrides)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.01
    return model


@torch.inference_mode()
def test_swag_against_torchvision(tmp_path):
    reference = randomise(
        torchvision.models.VisionTransformer(
            image_size=64, patch_size=8, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=192, num_classes=5
        )
    )
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    x = torch.randn(2, 3, 64, 64)
    check("vit_base_patch16_384.swag_e2e_in1k", PICTURE, tmp_path / "w.pth", x, reference(x), "torchvision")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "architecture", "pool", "layout"),
    [
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", "vit_base_patch16_224", "token", "timm"),
        ("deit_small_patch16_224.fb_in1k", "deit_small_patch16_224", "token", "timm"),
        ("deit_small_patch16_224.tome_r13_in1k", "deit_small_patch16_224", "token", "timm"),
        ("vit_huge_patch14_224.mae_ft_in1k", "vit_huge_patch14_224", "avg", "mae"),
        ("vit_base_patch16_224.mae_tome_r16_in1k", "vit_base_patch16_224", "avg", "mae"),
    ],
)
def test_image_models_against_timm(name, architecture, pool, layout, tmp_path):
    reference = randomise(timm.create_model(architecture, global_pool=pool, **PICTURE))
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    x = torch.randn(2, 3, 64, 64)
    check(name, PICTURE, tmp_path / "w.pth", x, reference(x), layout)


@torch.inference_mode()
def test_audiomae_against_timm(tmp_path):
    shape = {**NARROW, "img_size": (128, 32)}
    reference = randomise(timm.create_model("vit_base_patch16_224", global_pool="avg", in_chans=1, **shape))
    torch.save({"model": reference.state_dict()}, tmp_path / "w.pth")
    x = torch.randn(2, 1, 128, 32)
    model = tome_zoo.create_model(
        "audio_vit_base_patch16_1024x128.audiomae_as2m_ft", weights=tmp_path / "w.pth", **shape
    )
    torch.testing.assert_close(model(x), reference(x), atol=1e-4, rtol=0)


def original_videomae(state):
    """The names of VideoMAE's own files."""
    new = {}
    for key, value in state.items():
        key = key.removeprefix("videomae.").replace("encoder.layer.", "blocks.")
        key = key.replace("embeddings.patch_embeddings.projection", "patch_embed.proj").replace("classifier", "head")
        key = re.sub(r"attention\.attention\.([qv])_bias", r"attn.\1_bias", key)
        key = key.replace("attention.output.dense", "attn.proj").replace("intermediate.dense", "mlp.fc1")
        key = (
            key.replace("output.dense", "mlp.fc2")
            .replace("layernorm_before", "norm1")
            .replace("layernorm_after", "norm2")
        )
        new[key] = value
    for block in range(3):
        rows = [new.pop(f"blocks.{block}.attention.attention.{part}.weight") for part in ("query", "key", "value")]
        new[f"blocks.{block}.attn.qkv.weight"] = torch.cat(rows)
    return new


@torch.inference_mode()
def test_videomae_against_transformers(tmp_path):
    config = transformers.VideoMAEConfig(image_size=32, patch_size=8, num_frames=6, tubelet_size=2, **HF)
    reference = randomise(transformers.VideoMAEForVideoClassification(config))
    reference.save_pretrained(tmp_path)
    x = torch.randn(2, 3, 6, 32, 32)
    expected = reference(x.transpose(1, 2)).logits
    name, path = "video_vit_base_patch16_224.videomae_k400_ft", tmp_path / "model.safetensors"
    hub = check(name, {**CLIP, "norm_eps": 1e-12}, path, x, expected, "videomae_hf")
    assert any(key.endswith("attention.q_bias") for key in load_file(path))

    torch.save({"module": original_videomae(load_file(path))}, tmp_path / "w.pth")
    own = tome_zoo.create_model(name, weights=tmp_path / "w.pth", **CLIP, norm_eps=1e-12)
    assert torch.equal(own(x), hub(x))
    torch.save(reference.state_dict(), tmp_path / "w.pth")  # the names in memory, since release 5
    assert torch.equal(
        check(name, {**CLIP, "norm_eps": 1e-12}, tmp_path / "w.pth", x, expected, "videomae_hf")(x), hub(x)
    )


@torch.inference_mode()
def test_videomae_pretrained_becomes_an_encoder(tmp_path):
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=6, tubelet_size=2, use_mean_pooling=False, **HF
    )
    reference = randomise(transformers.VideoMAEForPreTraining(config))
    reference.videomae.save_pretrained(tmp_path)
    state = {f"videomae.{key}": value for key, value in load_file(tmp_path / "model.safetensors").items()}
    own = {f"encoder.{key}": value for key, value in original_videomae(state).items()}
    own = {key.replace("encoder.layernorm", "encoder.norm"): value for key, value in own.items()}
    own |= {
        "mask_token": torch.zeros(1),
        "decoder.norm.weight": torch.zeros(1),
        "encoder_to_decoder.weight": torch.zeros(1),
    }
    torch.save({"model": own}, tmp_path / "w.pth")
    overrides = {**CLIP, "num_classes": 0, "norm_eps": 1e-12}
    name = "video_vit_base_patch16_224.videomae_k400_ft"
    model = tome_zoo.create_model(name, weights=tmp_path / "w.pth", **overrides)
    x = torch.randn(1, 3, 6, 32, 32)
    reference.videomae.layernorm = torch.nn.Identity()
    tokens = reference.videomae(x.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(model.forward_features(x), tokens, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_ast_against_transformers(tmp_path):
    config = transformers.ASTConfig(max_length=86, num_mel_bins=46, **HF)  # 8 x 4 patches at stride 10
    reference = randomise(transformers.ASTForAudioClassification(config))
    reference.save_pretrained(tmp_path)
    x = torch.randn(2, 86, 46)
    expected = reference(x).logits
    name, path = "audio_vit_base_patch16_1024x128.ast_as2m_ft", tmp_path / "model.safetensors"
    overrides = {**NARROW, "img_size": (86, 46), "norm_eps": 1e-12}
    model = check(name, overrides, path, x.unsqueeze(1), expected, "ast_hf")
    assert any("encoder.layer.0.attention.attention.query" in key for key in load_file(path))
    assert model.patch_embed.grid_size == (8, 4)
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    check(name, overrides, tmp_path / "w.pth", x.unsqueeze(1), expected, "ast_hf")
    model.r = 3
    assert model(x.unsqueeze(1)).isfinite().all()
