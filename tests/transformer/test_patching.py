"""`patch` on all of timm: served exactly or refused by name; golden vectors of the published implementation."""

import copy
import functools
import json
import warnings
from pathlib import Path

import pytest
import timm
import torch
from timm.models import _registry
from torch import nn

from tome_zoo.errors import ScheduleError, UnsupportedModelError
from tome_zoo.transformer.block import MergingBlock
from tome_zoo.transformer.patching import patch, unpatch, unsupported_reason
from tome_zoo.transformer.vit import MergingVisionTransformer

INDEX = json.loads((Path(__file__).parents[1] / "golden" / "index.json").read_text())

# every timm module with a model made of a sequence of `blocks` of attention over tokens
VIT_LIKE = (
    *("beit", "cait", "convit", "crossvit", "deit", "eva", "hiera", "hieradet_sam2", "mlp_mixer", "naflexvit", "pit"),
    *("tnt", "twins", "vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos"),
    *("vision_transformer_sam", "vitamin", "volo", "xcit"),
)
NAMES = sorted(name for module in VIT_LIKE for name in timm.list_models(module=module))
PLAIN = sorted(name for module in ("vision_transformer", "deit") for name in timm.list_models(module=module))


def test_every_module_that_builds_a_served_class_is_walked():
    """A new timm may build VisionTransformer in a module that the list above does not name."""
    knows = {name for name in _registry._module_to_models if hasattr(getattr(timm.models, name), "VisionTransformer")}
    assert knows <= set(VIT_LIKE)


@functools.cache
def on_meta(name: str) -> nn.Module:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name).eval()


@pytest.mark.parametrize("name", NAMES)
def test_served_or_refused_never_silently_changed(name):
    """On the meta device: a served model merges in every block; a refused one names its class and stays as it was."""
    model = on_meta(name)
    kinds = [type(module) for module in model.modules()]
    if unsupported_reason(model) is not None:
        with pytest.raises(UnsupportedModelError, match=type(model).__name__):
            patch(model, r=4)
        assert [type(module) for module in model.modules()] == kinds
        return
    patch(model, r=4)
    try:
        blocks = model.blocks
        assert all(type(block) is MergingBlock for block in blocks)
        n_tokens = model.num_prefix_tokens + model.patch_embed.num_patches
        x = torch.empty(1, n_tokens, model.embed_dim, device="meta")
        merged, size, _ = model._forward_blocks(x)
        assert merged.shape[1] < n_tokens
        assert size.shape == merged.shape[:2]
    finally:
        unpatch(model)
    assert [type(module) for module in model.modules()] == kinds


def test_what_is_refused_says_why():
    for name, reason in {
        "vit_base_patch16_xp_224": "ParallelScalingBlock",
        "vit_small_patch16_36x1_224": None,
        "vit_small_patch16_18x2_224": "ParallelThingsBlock",
        "vit_base_patch16_rpn_224": "ResPostBlock",
        "beit_base_patch16_224": "Beit",
        "eva02_tiny_patch14_224": "Eva",
        "vit_relpos_base_patch16_224": "VisionTransformerRelPos",
        "samvit_base_patch16": "VisionTransformerSAM",
    }.items():
        if reason is None:
            unpatch(patch(on_meta(name)))
            continue
        with pytest.raises(UnsupportedModelError, match=reason):
            patch(on_meta(name))
    with pytest.raises(UnsupportedModelError, match="Linear"):
        patch(nn.Linear(2, 2))


def tiny(name: str, **overrides) -> nn.Module:
    """The architecture of that name with its own kinds of parts, but narrow, shallow and on a grid of 6 x 6."""
    patch_size = on_meta(name).patch_embed.patch_size[0]
    options = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7, "img_size": 6 * patch_size} | overrides
    model = timm.create_model(name, **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)  # LayerScale of 1e-5 would hide the blocks
    return model


def distinct_served() -> list[str]:
    """One name for each make of transformer that is served: the same makes differ in width, depth and grid only."""
    makes = {}
    for name in PLAIN:
        model = on_meta(name)
        if unsupported_reason(model) is None and not hasattr(model.patch_embed, "backbone"):
            parts = tuple((path, type(part)) for path, part in model.blocks[0].named_modules())
            outside = tuple(
                (path, type(part)) for path, part in model.named_modules() if not path.startswith("blocks.")
            )
            flags = (model.global_pool, model.num_prefix_tokens, model.no_embed_class, model.pos_embed is None)
            makes.setdefault((parts, outside, *flags), name)
    return list(makes.values())


def test_exact_where_theory_says_so(subtests):
    """r = 0 equals timm, through timm's forward and through the merging one; merging equal tokens changes nothing.

    A picture of three kinds of patches without position embedding gives tokens that are equal in threes of kinds. With
    proportional attention and size-weighted pooling, merging equal tokens is exact at any r that finds them.
    """
    names = distinct_served()
    assert len(names) >= 20
    for kind in ("dinov2", "reg4", "deit3", "distilled", "clip", "siglip", "gap"):
        assert any(kind in name for name in names), kind
    for name in names:
        with subtests.test(name), torch.no_grad():
            model = tiny(name)
            if model.pos_embed is not None:
                model.pos_embed.data[:, -36:] = 0
            side = model.patch_embed.patch_size[0]
            kinds = torch.randn(3, model.in_chans, side, side, dtype=torch.float64)
            grid = torch.randint(3, (2, 6, 6))
            x = kinds[grid].permute(0, 3, 1, 4, 2, 5).reshape(2, model.in_chans, 6 * side, 6 * side)
            expected = model(x)
            patch(model, r=0)
            assert torch.equal(model(x), expected)
            tokens, size, _ = model._forward_blocks(model._embed(x))
            assert size is None
            torch.testing.assert_close(model.forward_head(model.norm(tokens)), expected, rtol=1e-5, atol=1e-9)
            model.r = [6, 4]
            assert model.forward_features(x).shape[1] == 36 + model.num_prefix_tokens - 10
            torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-8)
            assert not torch.allclose(model(torch.randn_like(x)), expected)
            assert torch.equal(unpatch(model)(x), expected)


GOLDEN_MODELS = [
    ("timm_vit", "vit_tiny_patch16_224", INDEX["timm_vit_config"]),
    ("deit_distilled", "deit_tiny_distilled_patch16_224", INDEX["timm_vit_config"]),
    ("mae_image", "vit_tiny_patch16_224", INDEX["timm_vit_config"] | {"global_pool": "avg"}),
]


def as_r(r):
    """index.json writes (r, slope) as a list whose second number is a float."""
    return tuple(r) if isinstance(r, list) and len(r) == 2 and isinstance(r[1], float) else r


@pytest.mark.parametrize(("file", "name", "config"), GOLDEN_MODELS, ids=lambda v: v if isinstance(v, str) else "")
def test_published_outputs(file, name, config, golden):
    vectors = golden(file)
    model = timm.create_model(name, **config).eval()
    model.load_state_dict({k.removeprefix("weights."): v for k, v in vectors.items() if k.startswith("weights.")})
    with torch.no_grad():
        torch.testing.assert_close(model(vectors["input"]), vectors["logits.unpatched"], atol=1e-5, rtol=1e-5)
        for case in INDEX[file]:
            patch(model, r=as_r(case["r"]), prop_attn=case["prop_attn"])
            torch.testing.assert_close(model(vectors["input"]), vectors[case["key"]], atol=1e-4, rtol=1e-4)
            size = vectors.get(case["key"].replace("logits", "size"))
            if size is not None:
                _, ours = model.forward_features(vectors["input"], return_size=True)
                assert torch.equal(ours.sort().values, size[..., 0].sort().values)


class AddsNothing(timm.models.VisionTransformer):
    """As those of many repositories: a constructor of its own, timm's forward."""

    def __init__(self, **options):
        super().__init__(**options)
        self.note = "mine"


class PoolsOtherwise(timm.models.VisionTransformer):
    def forward_features(self, x):
        return super().forward_features(x).flip(1)


SMALL = {"img_size": 48, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 5}


def test_subclasses_that_leave_the_forward_are_served():
    model, x = AddsNothing(**SMALL).eval(), torch.randn(2, 3, 48, 48)
    same = timm.models.VisionTransformer(**SMALL).eval()
    same.load_state_dict(model.state_dict())
    patch(model, 4)
    assert isinstance(model, AddsNothing)
    assert model.note == "mine"
    expected = patch(same, 4)(x)
    for one in (model, copy.deepcopy(model)):
        assert torch.equal(one(x), expected)
        assert type(one) is type(model)
    assert type(unpatch(model)) is AddsNothing
    with pytest.raises(UnsupportedModelError, match="PoolsOtherwise: it has its own `forward_features`"):
        patch(PoolsOtherwise(**SMALL))


def test_other_libraries_transformers_are_refused_by_their_full_name():
    from torchvision.models import vit_b_16

    with torch.device("meta"):
        model = vit_b_16()
    full = r"torchvision\.models\.vision_transformer\.VisionTransformer: .*vit_base_patch16_224"
    with pytest.raises(UnsupportedModelError, match=full):
        patch(model)
    other = type("VisionTransformer", (nn.Module,), {"__module__": "open_clip.transformer"})()
    with pytest.raises(
        UnsupportedModelError, match=r"open_clip\.transformer\.VisionTransformer: .*vit_base_patch16_clip"
    ):
        patch(other)


def test_what_was_wrapped_before_is_refused_or_served():
    x = torch.randn(2, 3, 48, 48)
    model = timm.models.VisionTransformer(**SMALL).eval()
    with pytest.raises(UnsupportedModelError, match="patch the timm model first, then wrap"):
        patch(nn.Sequential(model))
    expected = patch(copy.deepcopy(model), 4)(x)
    forward = model.forward
    model.forward = lambda x: forward(x)
    with pytest.raises(
        UnsupportedModelError, match=r"forward has been set on the instance.*patch the timm model first"
    ):
        patch(model, 4)
    del model.forward
    model.blocks[1].forward = lambda x, **_: x
    with pytest.raises(UnsupportedModelError, match="block 1's forward has been set on the instance"):
        patch(model, 4)
    del model.blocks[1].forward
    model.forward = forward  # timm's own, as accelerate leaves it
    torch.testing.assert_close(patch(model, 4)(x), expected)


def test_a_block_that_cannot_merge_is_refused_by_name():
    x, model = torch.randn(2, 3, 48, 48), timm.models.VisionTransformer(**SMALL).eval()
    patch(model, 4).blocks[1] = nn.Identity()  # taken out
    assert model(x).shape == (2, 5)
    model.blocks[1] = nn.Linear(32, 32)
    with pytest.raises(UnsupportedModelError, match="a Linear has been put in its place"):
        model(x)
    model = patch(timm.models.VisionTransformer(**SMALL).eval(), 4)
    model.blocks[1].forward = lambda x: x
    with pytest.raises(UnsupportedModelError, match="takes no keyword `merging`"):
        model(x)
    model.blocks[1].forward = lambda x, **_: x
    with pytest.raises(UnsupportedModelError, match="does not call the block with `merging`"):
        model(x)
    del model.blocks[1].forward
    model.blocks[1].register_forward_hook(lambda m, a, y: y[:, :-1])
    with pytest.raises(UnsupportedModelError, match="made 28 tokens of 29"):
        model(x)


def test_settings_and_undoing():
    model = timm.create_model("vit_tiny_patch16_224", depth=3, img_size=64)
    state = copy.deepcopy(model.state_dict())
    assert patch(model, 3) is model
    assert model.r == 3
    assert model.prop_attn
    patch(model, r=[1, 2], prop_attn=False)
    assert model.r == [1, 2]
    assert not model.prop_attn
    assert isinstance(model, MergingVisionTransformer)
    assert model.state_dict().keys() == state.keys()
    assert unpatch(model) is model
    assert type(model) is timm.models.VisionTransformer
    assert unpatch(model) is model  # nothing to undo


@pytest.mark.parametrize("r", [-1, float("nan"), [1] * 4, (2, 7.0)])
def test_a_bad_r_leaves_the_model_as_it_was(r):
    model = timm.create_model("vit_tiny_patch16_224", depth=3, img_size=64)
    with pytest.raises(ScheduleError):
        patch(model, r=r)
    assert type(model) is timm.models.VisionTransformer
    patch(model, r=2)
    with pytest.raises(ScheduleError):
        model.r = r
    assert model.r == 2
