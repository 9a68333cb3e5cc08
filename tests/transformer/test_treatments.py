"""Whatever is done to timm's model can be done to the merging one, with the result that the same model gives."""

import functools

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from timm.utils import AttentionExtract
from treatments import changes, hooks, libraries
from treatments.bench import TREATMENTS, Bench

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.transformer.patching import patch
from tome_zoo.transformer.paths import attention_path, called_as_modules, describe_fast_path

HEADS = {
    "class token": (VisionTransformer, {}),
    "average": (VisionTransformer, {"global_pool": "avg", "class_token": False}),
    "map": (VisionTransformer, {"global_pool": "map", "class_token": False}),
    "registers": (VisionTransformer, {"reg_tokens": 3}),
    "distilled": (VisionTransformerDistilled, {}),
}
COMPILED = (
    "watch attn",
    "attention ablated",
    "qkv doubled",
    "block outputs steered",
    "parametrized",
    "unfused attention",
)
pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries about themselves


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """The models are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(head):
    """A small model with weights so large that every part matters."""
    cls, options = HEADS[head]
    torch.manual_seed(0)
    model = cls(img_size=48, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=5, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def inputs():
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def treated(model, name, compiled=False):
    """What comes of it, and what was seen."""
    bench = Bench(model)
    with bench.stack:
        run = TREATMENTS[name].act(bench) or bench.model
        run = torch.compile(run, backend="eager") if compiled else run
        return run(inputs()).detach(), bench.seen


@functools.cache
def of_timm(name, head):
    return treated(make(head), name)


def difference(name, head, r, compiled=False):
    """Largest difference from the same model made another way; hooks must see as much as on timm's model."""
    y, seen = treated(patch(make(head), r), name, compiled)
    same = make(head)
    TREATMENTS[name].same(same)
    with torch.no_grad():
        expected = patch(same, r)(inputs())
    of_timms, seen_of_timm = of_timm(name, head)
    assert seen == seen_of_timm
    if r == 0:
        assert torch.equal(y, of_timms)
    return (y - expected).abs().max().item()


@pytest.mark.parametrize("name", TREATMENTS)
def test_treated_models_give_what_the_same_model_gives(name, subtests):
    if TREATMENTS[name].needs:
        pytest.importorskip(TREATMENTS[name].needs)
    for head in HEADS:
        for r in (0, 4):
            with subtests.test(head=head, r=r):
                assert difference(name, head, r) < 1e-5


@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name):
    torch._dynamo.reset()
    y, _ = treated(patch(make("class token"), 4), name, compiled=True)
    expected, _ = treated(patch(make("class token"), 4), name)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_symbolic_tracing_is_timms_at_r_0_and_refused_where_tokens_merge():
    def extracted(model):
        for block in model.blocks:
            block.attn.fused_attn = False
        return AttentionExtract(model, method="fx")(inputs())

    expected = extracted(make("class token"))
    found = extracted(patch(make("class token")))
    assert found.keys() == expected.keys() != set()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    with pytest.raises(UnsupportedModelError, match=r"torch\.fx.*set r = 0, or use hooks"):
        extracted(patch(make("class token"), 4))


def test_enough_treatments():
    assert len(TREATMENTS) >= 30
    assert {hooks, changes, libraries}


def test_the_decision_has_a_name():
    model, cpu = patch(make("class token"), 4), torch.device("cpu")
    assert called_as_modules(model) == {}
    assert attention_path(model, cpu, torch.float32) == "fused, masked"
    assert attention_path(model, cpu, torch.float32, r=0) == "timm fused"
    model.blocks[0].attn.qkv.register_forward_hook(lambda *_: None)
    model.blocks[1].mlp.forward = model.blocks[1].mlp.forward
    assert called_as_modules(model) == {
        "blocks.0.attn": "qkv: hooks",
        "blocks.1.mlp": "a forward set on the instance",
    }
    assert attention_path(model, cpu, torch.float32) == "timm fused (qkv: hooks)"
    assert describe_fast_path(model) == (
        "attention read, attention called in 1 of 3 blocks (qkv: hooks), MLP read, "
        "MLP called in 1 of 3 blocks (a forward set on the instance), last block computes prefix tokens only"
    )
    model.blocks[2].register_forward_hook(lambda *_: None)
    assert describe_fast_path(model).startswith("blocks called in 1 of 3 blocks (hooks), attention read")
    assert describe_fast_path(patch(make("average"), 4)) == (
        "attention read, MLP read, last block computes all tokens (the head reads all tokens)"
    )


def test_what_is_no_module_any_more_is_not_read():
    model = patch(make("class token"), 4)
    expected = model(inputs())
    linear = model.blocks[1].mlp.fc1
    del model.blocks[1].mlp.fc1
    model.blocks[1].mlp.fc1 = linear.forward
    torch.testing.assert_close(model(inputs()), expected)
    assert called_as_modules(model) == {"blocks.1.mlp": "fc1: NoneType instead of Linear"}


@pytest.mark.parametrize("name", ["blocks.2", "blocks.2.attn.proj", "blocks", "norm"])
def test_a_hook_near_the_end_has_all_tokens_computed(name):
    model = patch(make("class token"), 4)
    with torch.no_grad():
        tokens = model._embed(inputs())
        assert model.why_not_prefix_only(tokens) == ""
        handle = model.get_submodule(name).register_forward_hook(lambda *_: None)
        assert "hooks" in model.why_not_prefix_only(tokens)
        handle.remove()
        assert model.why_not_prefix_only(tokens) == ""
