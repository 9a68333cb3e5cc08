"""The explicit model against the published implementation's vectors, a float64 loop, and our own fast way."""

import copy
import json
import pickle
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from timm.layers import Attention
from torch.nn import functional as F

from tome_zoo.benchmark.explicit import ExplicitBlock, assignment, attend, choose, explicit, reduce
from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import match, merge, merge_count
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.build import build
from tome_zoo.transformer.patching import patch

INDEX = json.loads((Path(__file__).parents[1] / "golden" / "index.json").read_text())
SMALL = Architecture(embed_dim=32, depth=3, num_heads=2, patch_size=8, img_size=48, num_classes=5)
MAKES = {
    "class token": ("vit_tiny_patch16_224", {}),
    "average": ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "LayerScale": ("deit3_small_patch16_224", {}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 84}),
    "q/k norm": ("vit_tiny_patch16_224", {"qk_norm": True}),
    "scaled norm": ("vit_tiny_patch16_224", {"scale_attn_norm": True}),
}


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """With weights so large that every block matters."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def made(make: str, r=6, prop_attn: bool = True):
    name, options = MAKES[make]
    options = {"img_size": 96, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7} | options
    return patch(stirred(timm.create_model(name, **options)), r, prop_attn)


@pytest.mark.parametrize(
    ("file", "name"), [("timm_vit", "vit_tiny_patch16_224"), ("mae_image", "vit_tiny_patch16_224")]
)
def test_published_outputs(file, name, golden):
    vectors = golden(file)
    pool = {"global_pool": "avg"} if file == "mae_image" else {}
    model = timm.create_model(name, **INDEX["timm_vit_config"], **pool).eval()
    model.load_state_dict({k.removeprefix("weights."): v for k, v in vectors.items() if k.startswith("weights.")})
    slow = explicit(patch(model))
    with torch.no_grad():
        for case in INDEX[file]:
            slow.r, slow.prop_attn = tuple(case["r"]) if case["inflect"] else case["r"], case["prop_attn"]
            torch.testing.assert_close(slow(vectors["input"]), vectors[case["key"]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("prop_attn", [True, False])
def test_equal_to_the_fast_way(make, prop_attn):
    model = made(make, prop_attn=prop_attn)
    slow = explicit(model)
    x = torch.randn(2, 3, *model.patch_embed.img_size)
    with torch.no_grad():
        for r in (0, 6, (6, -1.0), [9, 0, 4]):
            model.r = slow.r = r
            torch.testing.assert_close(slow(x), model(x), atol=1e-5, rtol=1e-5)
            for one, other in zip(slow.trace(x).blocks, model.trace(x).blocks, strict=True):
                assert torch.equal(one, other)
            (tokens, size), (expected, expected_size) = (m.forward_features(x, return_size=True) for m in (slow, model))
            torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
            assert torch.equal(size, expected_size)
        if prop_attn:
            slow.prop_attn = False
            assert not torch.allclose(slow(x), model(x), atol=1e-4)  # the comparison above can tell


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"scale_norm": True}, {"gated": True}], ids=str)
def test_every_part_of_timms_attention_is_used(options):
    attn = stirred(Attention(24, num_heads=3, norm_layer=torch.nn.LayerNorm, **options))
    x = torch.randn(2, 6, 24)
    torch.testing.assert_close(attend(attn, x, None)[0], attn(x))
    size = torch.tensor([[1.0, 2, 1, 3, 1, 1]] * 2)
    repeated = attn(x.repeat_interleave(size[0].long(), dim=1))
    torch.testing.assert_close(attend(attn, x, size)[0], repeated[:, [0, 1, 3, 4, 7, 8]], atol=1e-5, rtol=1e-5)


@st.composite
def problems(draw):
    """(metric, x, size, r, protected): random, quantised into ties, or with zero vectors."""
    batch, n, channels, protected = (draw(st.integers(*ends)) for ends in ((1, 3), (2, 40), (1, 9), (0, 6)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    metric = torch.randn(batch, n, channels, generator=generator)
    kind = draw(st.sampled_from(["random", "ties", "zeros", "equal"]))
    if kind == "ties":
        metric = F.one_hot(torch.randint(0, channels, (batch, n), generator=generator), channels).float()
    elif kind == "zeros":
        metric[torch.rand(batch, n, generator=generator) < 0.5] = 0
    elif kind == "equal":
        metric = torch.ones_like(metric)
    x = torch.randn(batch, n, channels, generator=generator).to(draw(st.sampled_from([torch.float32, torch.float64])))
    size = torch.randint(1, 400, (batch, n), generator=generator).float() if draw(st.booleans()) else None
    return metric, x, size, merge_count(draw(st.integers(1, 50)), n, protected), protected


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_same_step(problem):
    """Maps and sizes exactly, tokens as a float64 loop averages them, lone tokens bit for bit."""
    metric, x, size, r, protected = problem
    assume(r > 0)
    n_out = x.shape[1] - r
    choice = choose(metric, r, protected)
    assign = assignment(choice, protected)
    assert torch.equal(assign, match(metric, r, protected))
    merged, merged_size = reduce(x, size, choice, protected)
    assert merged.dtype == x.dtype
    assert torch.equal(merged_size, merge(x, size, assign, n_out)[1])
    weight = torch.ones(x.shape[:2]) if size is None else size
    for sample, places in enumerate(assign.tolist()):
        for slot in range(n_out):
            sources = [i for i, place in enumerate(places) if place == slot]
            mean = sum(x[sample, i].double() * float(weight[sample, i]) for i in sources)
            mean = mean / sum(float(weight[sample, i]) for i in sources)
            torch.testing.assert_close(merged[sample, slot].double(), mean, atol=2e-6, rtol=2e-6)
            if len(sources) == 1:
                assert torch.equal(merged[sample, slot], x[sample, sources[0]])


@pytest.mark.parametrize("r", [0, 6])
def test_no_fused_attention_is_called(r, monkeypatch):
    model, x = build(SMALL, r=r), torch.randn(2, 3, 48, 48)
    slow = explicit(model)

    def refuse(*arguments, **options):
        raise AssertionError("fused")

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)
    with torch.no_grad():
        assert slow(x).shape == (2, 5)
        with pytest.raises(AssertionError, match="fused"):
            model(x)


def test_weights_are_shared_and_settings_are_not():
    model, x = stirred(build(SMALL, r=6)), torch.randn(2, 3, 48, 48)
    slow = explicit(model)
    for (name, one), (other_name, other) in zip(slow.named_parameters(), model.named_parameters(), strict=True):
        assert name == other_name
        assert one is other
    before = slow(x)
    model.r = 2
    assert slow.r == 6
    assert torch.equal(slow(x), before)
    assert not any(isinstance(block, ExplicitBlock) for block in model.blocks)
    assert all(block.attn.fused_attn for block in model.blocks)
    with torch.no_grad():
        model.head.bias.add_(1)
    torch.testing.assert_close(slow(x), before + 1)


def test_the_last_block_merges_too():
    """Where ours computes only what the head reads."""
    slow, seen = explicit(build(SMALL, r=6)), []
    slow.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    slow(torch.randn(1, 3, 48, 48))
    assert seen == [37 - 18]


def test_gradients_equal_those_of_the_fast_way():
    model, x = stirred(build(SMALL, r=6)).train(), torch.randn(2, 3, 48, 48)
    found = []
    for one in (model, explicit(model)):
        one.zero_grad()
        one(x).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in one.parameters()])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(slow, fast, atol=1e-4, rtol=1e-4)


def test_half_precision_and_autocast():
    model, x = build(SMALL, r=6), torch.randn(2, 3, 48, 48)
    slow = explicit(model)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(slow(x), model(x), atol=3e-2, rtol=3e-2)
    slow = explicit(model.bfloat16())
    with torch.no_grad():
        tokens, size = slow.forward_features(x.bfloat16(), return_size=True)
    assert tokens.dtype == torch.bfloat16
    assert size.dtype == torch.float32
    assert size.sum(1).tolist() == [37, 37]


def test_matching_ignores_autocast():
    metric = F.normalize(torch.randn(2, 60, 16), dim=-1) + 4.0  # so close that bfloat16 would tie them
    expected = choose(metric, 12, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(choose(metric, 12, 1).source, expected.source)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_stay_explicit(duplicate):
    slow, x = explicit(build(SMALL, r=6)), torch.randn(1, 3, 48, 48)
    other = duplicate(slow)
    assert all(type(block) is ExplicitBlock for block in other.blocks)
    assert torch.equal(other(x), slow(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("mode", ["block", "graph"])
def test_compiled(mode):
    slow, x = explicit(build(SMALL, r=6)), torch.randn(2, 3, 48, 48)
    compiled = copy.deepcopy(slow)
    compiled.compile(mode, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), slow(x))


def test_what_does_not_merge_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"got VisionTransformer: call tome_zoo\.patch"):
        explicit(timm.create_model("vit_tiny_patch16_224", depth=1, img_size=32))
