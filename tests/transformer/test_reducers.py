"""Reducers in whole models: r = 0, counts of tokens, traces, gradients, MACs, and a function of one's own."""

import copy
import pickle

import pytest
import timm
import torch

import tome_zoo
from tome_zoo.errors import TomeZooError, UnsupportedModelError
from tome_zoo.merge import Reduction, list_reducers
from tome_zoo.transformer.macs import count_macs

SMALL = {"img_size": 48, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 4, "num_classes": 7}
NAMES = [*list_reducers(), "bipartite:feature=q,distance=dot", "bipartite:partition=random", "tofu:early=0"]


def make(**options):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **{**SMALL, **options}).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prop_attn", [False, True])
def test_at_zero_it_is_timm_and_else_counts_are_kept(name, prop_attn, x):
    plain = make()
    expected = plain(x)
    model = tome_zoo.patch(copy.deepcopy(plain), r=0, reducer=name, prop_attn=prop_attn)
    assert torch.equal(model(x), expected)
    model.r = [5, 0, 9, 99]
    tokens = [37 - 5, 37 - 5, 37 - 14, 37 - 14 - 11]
    trace = model.trace(x)
    assert [int(after.max()) + 1 for after in trace.blocks] == tokens
    assert trace.size.shape == (3, tokens[-1])
    assert all((after[:, 0] == 0).all() and (after[:, 1:] > 0).all() for after in trace.blocks)
    full = model.forward_features(x, unmerge=True)
    assert full.shape == (3, 37, 32)
    assert torch.isfinite(model(x)).all()
    assert torch.equal(model(x), model(x))
    assert count_macs(model, model.r).tokens == tuple(tokens)
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert again.reducer.name == name
    assert torch.equal(again(x), model(x))
    assert type(tome_zoo.unpatch(again)) is type(plain)
    assert torch.equal(again(x), expected)


@pytest.mark.parametrize("name", ["greedy", "kmeans", "random", "attention", "pitome", "tofu", "hierarchical"])
def test_without_class_token(name, x):
    model = tome_zoo.patch(make(class_token=False, global_pool="avg"), r=6, reducer=name)
    assert model.forward_features(x).shape == (3, 36 - 24, 32)
    assert model(x).shape == (3, 7)


@pytest.mark.parametrize("name", ["topk", "evit", "importance"])
def test_class_attention_needs_a_class_token(name):
    model = make(class_token=False, global_pool="avg")
    with pytest.raises(UnsupportedModelError, match="class token"):
        tome_zoo.patch(model, r=6, reducer=name)
    assert type(model).__module__.startswith("timm.")
    merging = tome_zoo.patch(model, r=6)
    with pytest.raises(UnsupportedModelError, match="class token"):
        merging.reducer = name
    assert merging.reducer.name == "bipartite"


def test_the_named_default_is_the_default(x):
    model = tome_zoo.patch(make(), r=7)
    expected = model(x)
    model.reducer = "bipartite:combine=weighted"  # by the open form
    torch.testing.assert_close(model(x), expected)
    model.reducer = "bipartite"
    assert model.reducer.is_default
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("name", ["kmeans", "evit", "importance", "tofu:early=0"])
def test_gradients_with_checkpointing_are_those_without(name, x):
    found = []
    for checkpointing in (False, True):
        model = tome_zoo.patch(make(), r=6, reducer=name).train()
        model.set_grad_checkpointing(checkpointing)
        model(x).square().sum().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def test_hooks_are_called_and_nothing_changes(x):
    model = tome_zoo.patch(make(), r=6, reducer="topk")
    expected, seen = model(x), []
    for block in model.blocks:
        block.attn.register_forward_hook(lambda *_: seen.append("attn"))
        block.register_forward_hook(lambda *_: seen.append("block"))
    torch.testing.assert_close(model(x), expected)
    assert seen.count("attn") == seen.count("block") == 4


def test_what_matching_costs():
    model = tome_zoo.patch(make(), r=6)
    n, width, head_dim = 37, 32, 8
    per_block = {name: count_macs(tome_zoo.patch(model, r=[6], reducer=name)).matching for name in NAMES}
    assert per_block["bipartite"] == 18 * 18 * head_dim
    assert per_block["greedy"] == per_block["hierarchical"] == 36 * 36 * head_dim
    assert per_block["topk"] == per_block["evit"] == n * width
    assert per_block["attention"] == n * n * width
    assert per_block["random"] == 0
    assert per_block["importance"] == n * width + 6 * 30 * width
    assert per_block["kmeans"] == 21 * 36 * 30 * head_dim


def test_a_function_of_ones_own(x):
    def neighbours(inputs, r, protected):
        """Join the first r pairs of neighbours."""
        position = torch.arange(inputs.x.shape[1])
        behind = position - protected
        assign = position - ((behind + 1) // 2).clamp(0, r)
        return Reduction(assign.expand(len(inputs.x), -1), inputs.x.shape[1] - r)

    model = tome_zoo.patch(make(), r=4, reducer=neighbours)
    assert model.trace(x).blocks[0][0, :9].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(TomeZooError, match="did you mean 'kmeans'"):
        model.reducer = "kmean"
