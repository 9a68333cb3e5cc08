"""timm's models by name and by instance: what the card says is what timm says, and weights come back as they were."""

import copy
import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

import tome_zoo
from tome_zoo import cards
from tome_zoo.cards.timm_models import timm_card
from tome_zoo.errors import CardError, CheckpointError, TomeZooError, UnsupportedModelError
from tome_zoo.registry import resolve_model
from tome_zoo.weights.save import save_weights

FAMILIES = {  # one of each kind that `patch` serves
    "class token": "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "average": "vit_medium_patch16_gap_240.sw_in12k",
    "registers and average": "vit_little_patch16_reg4_gap_256.sbb_in1k",
    "layer scale": "vit_small_patch14_dinov2.lvd142m",
    "gated MLP": "vit_giant_patch14_dinov2.lvd142m",
    "pre-norm, CLIP": "vit_base_patch32_clip_224.openai",
    "map pooling, squash": "vit_base_patch16_siglip_384.webli",
    "distilled": "deit_tiny_distilled_patch16_224.fb_in1k",
    "DeiT-III": "deit3_small_patch16_384.fb_in22k_ft_in1k",
    "MAE": "vit_base_patch16_224.mae",
    "convolutional stem": "vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k",
    "grid with a rest": "vit_so400m_patch14_siglip_gap_378.webli",
}
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)
def test_the_card_says_what_timm_says(name):
    card = timm_card(name)
    cfg = timm.get_pretrained_cfg(name)
    with torch.device("meta"):
        model = timm.create_model(name)
    assert card.name == card.timm == f"{cfg.architecture}.{cfg.tag}"
    assert card.architecture.size == cfg.input_size[1:]
    assert card.architecture.grid == (1, *model.patch_embed.grid_size)
    assert card.architecture.num_prefix_tokens == model.num_prefix_tokens
    assert card.architecture.num_classes == model.num_classes
    assert (card.input.mean, card.input.std) == (cfg.mean, cfg.std)
    assert (card.input.crop_pct, card.input.crop_mode) == (cfg.crop_pct, cfg.crop_mode)
    assert card.weights.hub == cfg.hf_hub_id
    assert card.weights.license == cfg.license
    assert card.merging.prop_attn == (name != FAMILIES["MAE"])


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_384.webli", "vit_base_patch16_224.orig_in21k"])
@pytest.mark.parametrize("size", [(500, 375), (300, 444), (64, 64)])
def test_preprocessing_equals_timms(name, size, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(tmp_path / "a.png")
    model = tome_zoo.create_model(name, device="meta")
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    wanted = create_transform(**config)(Image.open(tmp_path / "a.png"))
    assert torch.equal(model.preprocess(tmp_path / "a.png")[0], wanted)


def test_a_name_without_tag_and_a_card_of_the_zoo_come_together():
    assert cards.model_card("deit_tiny_patch16_224") is cards.model_cards()["deit_tiny_patch16_224.fb_in1k"]
    assert cards.model_card("vit_small_patch14_dinov2").name == "vit_small_patch14_dinov2.lvd142m"
    assert cards.model_card("vit_base_patch16_224").timm == "vit_base_patch16_224.augreg2_in21k_ft_in1k"


def test_classes_follow_from_their_number():
    model = tome_zoo.create_model("vit_tiny_patch16_384", **SMALL)
    assert (model.card.dataset, model.labels[1]) == ("imagenet1k", "goldfish, Carassius auratus")
    many = timm_card("vit_medium_patch16_gap_240.sw_in12k")
    assert (many.dataset, len(many.classes)) == ("image_folder", 11821)
    assert tome_zoo.create_model("vit_tiny_patch16_384", num_classes=2, **SMALL).labels == ("class 0", "class 1")


def test_what_cannot_merge_or_is_unknown_is_refused_by_name():
    with pytest.raises(UnsupportedModelError, match=r"resnet18.*cannot be merged"):
        tome_zoo.create_model("resnet18")
    with pytest.raises(UnsupportedModelError, match="ParallelScalingBlock"):
        cards.model_card("vit_pwee_patch16_reg1_gap_256.sbb_in1k")
    with pytest.raises(CardError, match=r"in the zoo or in timm; nearest: .*vit_small_patch14_dinov2"):
        tome_zoo.create_model("vit_smal_patch14_dinov2")
    with pytest.raises(CardError, match="'norm_eps' of timm's vit_tiny_patch16_384"):
        tome_zoo.create_model("vit_tiny_patch16_384", norm_eps=1e-3)
    with pytest.raises(CardError, match="pool 'map' is built by timm alone"):
        tome_zoo.create_model("vit_base_patch16_224.mae_ft_in1k", pool="map", **SMALL)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "deit_tiny_distilled_patch16_224.fb_in1k"])
def test_weights_from_a_file_give_timms_outputs(name, tmp_path):
    fields = {**SMALL, "img_size": 56 if "14" in name else 64}
    plain = timm.create_model(name, **fields, num_classes=5).eval()
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    model = tome_zoo.create_model(name, weights=tmp_path / "w.safetensors", num_classes=5, **fields)
    x = torch.randn(2, 3, fields["img_size"], fields["img_size"])
    assert torch.equal(model(x), plain(x))
    model.r = 2
    assert tuple(model(x).shape) == (2, 5)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.card == model.card
        assert torch.equal(other(x), model(x))


def test_a_file_says_the_shape_and_classes_of_a_timm_model(tmp_path):
    own = tome_zoo.create_model("vit_small_patch14_dinov2", num_classes=2, img_size=56, **SMALL)
    path = save_weights(own, tmp_path / "own.safetensors", classes=("cat", "dog"), dtype=torch.float32)
    back = tome_zoo.create_model("vit_small_patch14_dinov2.lvd142m", weights=path)
    assert (back.labels, back.card.architecture.img_size) == (("cat", "dog"), 56)
    x = torch.randn(1, 3, 56, 56)
    assert torch.equal(back(x), own(x))


def test_timms_own_weights_are_refused_where_nothing_may_be_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vit_small_patch14_dinov2\.lvd142m are not at hand.*--weights"):
        tome_zoo.create_model("vit_small_patch14_dinov2", pretrained=True)


def test_timm_loads_its_own_weights_and_its_failure_is_one_line(monkeypatch):
    def fail(*args, pretrained, **options):
        raise ConnectionError("no route\nto the hub")

    card = cards.model_card("vit_small_patch14_dinov2")
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(CheckpointError, match=r"could not load the weights of vit_small_\S+: no route\. Bring a file"):
        tome_zoo.create_model(card.name, pretrained=True)


@pytest.fixture
def patched():
    torch.manual_seed(0)
    return tome_zoo.patch(timm.create_model("vit_tiny_patch16_384", img_size=32, **SMALL).eval(), r=1)


def test_a_patched_model_learns_its_card_in_place(patched):
    x = torch.randn(1, 3, 32, 32)
    before, keys = patched(x), set(patched.state_dict())
    model = resolve_model(patched)
    assert model is patched
    assert model.card.name == "vit_tiny_patch16_384.augreg_in21k_ft_in1k"
    assert model.card.architecture.img_size == 32
    assert len(model.labels) == 1000
    assert torch.equal(model(x), before)
    assert set(model.state_dict()) == keys
    assert resolve_model(model) is model
    patched.reset_classifier(7)
    assert resolve_model(patched).labels == tuple(f"class {index}" for index in range(7))
    assert type(tome_zoo.unpatch(patched)) is timm.models.VisionTransformer


def test_own_names_in_the_pretrained_cfg_are_the_classes(patched):
    patched.reset_classifier(2)
    patched.pretrained_cfg = {
        **patched.pretrained_cfg,
        "label_names": ["n1", "n2"],
        "label_descriptions": {"n2": "two"},
    }
    model = resolve_model(patched)
    assert (model.labels, model.card.dataset) == (("n1", "two"), "image_folder")


def test_what_does_not_merge_is_refused_with_its_full_name():
    plain = timm.create_model("vit_tiny_patch16_384", img_size=32, **SMALL)
    with pytest.raises(
        UnsupportedModelError, match=r"timm\.models\.vision_transformer\.VisionTransformer: call tome_zoo"
    ):
        resolve_model(plain)
    with pytest.raises(UnsupportedModelError, match=r"got torch\.nn\.modules\.linear\.Linear"):
        resolve_model(torch.nn.Linear(2, 2))
    with pytest.raises(TomeZooError, match="weights goes with a name"):
        resolve_model(tome_zoo.patch(plain), weights="x.safetensors")
    del plain.pretrained_cfg
    with pytest.raises(CardError, match="how its input is prepared"):
        resolve_model(plain)


@pytest.mark.slow
def test_every_served_name_has_a_card():
    """A walk over all names of timm whose module has a plain vision transformer."""
    modules = ("vision_transformer", "deit", "vision_transformer_hybrid")
    served, refused = 0, []
    for name in (name for module in modules for name in timm.list_models(module=module, pretrained=True)):
        try:
            assert timm_card(name).name == name
            served += 1
        except UnsupportedModelError as error:
            refused.append((name, str(error)))
    assert served > 300
    assert all("patch" in reason or "block" in reason for _, reason in refused)
    assert len(refused) < 20
