"""Every card against the keys and shapes of its published file, on the meta device, and small enough ones run once."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision

import tome_zoo
from tome_zoo import cards
from tome_zoo.weights.layouts import convert

transformers = pytest.importorskip("transformers")

DATA = Path(__file__).parent / "keys"
SIZES = {"base": (768, 12, 12), "large": (1024, 24, 16), "huge": (1280, 32, 16)}
SHIPPED = sorted(name for name in cards.model_cards() if not name.startswith("demo_"))
PARAMETERS = {  # of the published models, encoders without classifier counted as they are
    "vit_base_patch16_224.mae_ft_in1k": 86_567_656,
    "vit_large_patch16_224.mae_ft_in1k": 304_326_632,
    "vit_huge_patch14_224.mae_ft_in1k": 632_045_800,
    "vit_base_patch16_384.swag_e2e_in1k": 86_859_496,
    "vit_large_patch16_512.swag_e2e_in1k": 305_174_504,
    "vit_huge_patch14_518.swag_e2e_in1k": 633_470_440,
    "audio_vit_base_patch16_1024x128.audiomae_as2m_ft": 86_053_391,
}


def meta(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def manifest(name):
    return meta(json.loads((DATA / f"{name}.json").read_text()))


def mae_st(size):
    """ViT-L as listed; ViT-H has the same names, wider and deeper. Without the head: what is published has none."""
    listed = manifest("mae_st_vit_large_k400_ft")
    dim, depth, _ = SIZES[size]
    if size == "huge":
        wider = {1024: dim, 4096: 4 * dim}
        listed = meta({key: [wider.get(side, side) for side in value.shape] for key, value in listed.items()})
        for key in [key for key in listed if key.startswith("blocks.0.")]:
            for block in range(24, depth):
                listed[key.replace("blocks.0.", f"blocks.{block}.")] = listed[key]
        assert len(listed) == 522
        assert sum(value.numel() for value in listed.values()) == 632_424_080
    return {key: value for key, value in listed.items() if not key.startswith("head.")}


def videomae(size):
    dim, depth, heads = SIZES[size]
    config = transformers.VideoMAEConfig(
        hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * dim, num_labels=400
    )
    with torch.device("meta"):
        state = transformers.VideoMAEForVideoClassification(config).state_dict()
    return {re.sub(r"attention\.(q|v)(uery|alue)\.bias$", r"attention.\1_bias", key): v for key, v in state.items()}


def ast():
    with torch.device("meta"):
        return transformers.ASTForAudioClassification(transformers.ASTConfig(num_labels=527)).state_dict()


def published(name):
    """The state dict of the published file on the meta device, made without this package's converters."""
    architecture, tag = name.split(".")
    size = next((size for size in SIZES if f"_{size}_" in architecture), "")
    if tag.startswith("mae_st"):
        return mae_st(size)
    if tag.startswith("videomae"):
        return videomae(size)
    if tag.startswith("audiomae"):
        state = manifest("audiomae_vit_base_as2m_ft")
        if tag.endswith("_ft"):
            return state
        return {key.replace("fc_norm", "norm"): value for key, value in state.items() if not key.startswith("head.")}
    if tag.startswith("ast"):
        return ast()
    with torch.device("meta"):
        if tag.startswith("swag"):
            builder = getattr(torchvision.models, re.sub(r"vit_(.)\w+_patch(\d+)_.*", r"vit_\1_\2", architecture))
            return builder(image_size=int(architecture.rsplit("_", 1)[1])).state_dict()
        pool = {"global_pool": "avg"} if tag.startswith("mae") else {}
        return timm.create_model(architecture, num_classes=1000, **pool).state_dict()


@pytest.mark.parametrize("name", SHIPPED)
def test_architecture_has_the_keys_and_shapes_of_the_published_file(name):
    model = tome_zoo.create_model(name, device="meta")
    state = published(name)
    converted = convert(state, model.card.weights.layout, model.card.architecture)
    assert {k: tuple(v.shape) for k, v in converted.items()} == {
        k: tuple(v.shape) for k, v in model.state_dict().items()
    }
    if name in PARAMETERS:
        assert sum(value.numel() for value in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_default_schedule_saves_work(name):
    merging = cards.model_card(name).merging
    model = tome_zoo.create_model(name, device="meta")
    counts = {str(r): tome_zoo.count_macs(model, r) for r in merging.r}
    saved = 1 - counts[str(merging.default_r)].total / counts["0"].total
    assert 0.2 < saved < 0.8
    for reported in cards.model_card(name).reported:
        if reported.gmacs is not None:
            assert tome_zoo.count_macs(model, reported.r).gmacs == pytest.approx(reported.gmacs, rel=4e-3, abs=0.05)


SMALL = [n for n in SHIPPED if sum(p.numel() for p in tome_zoo.create_model(n, device="meta").parameters()) <= 1e8]


def test_the_smaller_half_is_run():
    assert len(SMALL) >= 15


@pytest.mark.parametrize("name", SMALL)
def test_a_model_of_at_most_100_million_parameters_runs(name, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor.normal_(std=0.02))
    monkeypatch.setattr("timm.layers.weight_init.trunc_normal_", lambda tensor, **_: tensor.normal_(std=0.02))
    card = cards.model_card(name)
    model = tome_zoo.create_model(name, r=card.merging.default_r)
    a = card.architecture
    shape = (a.in_chans, *a.size) if a.num_frames is None else (a.in_chans, a.num_frames, *a.size)
    with torch.inference_mode():
        out = model(torch.randn(1, *shape))
    assert out.shape == (1, a.num_classes or a.embed_dim)
    assert out.isfinite().all()
    assert len(model.labels) == a.num_classes
