"""State is explicit: everything that copies, splits, compiles or interrupts a forward still works on a merged model."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch

from tome_zoo.merge import unmerge
from tome_zoo.system.compiler import cpp_compiler
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.block import MergingBlock
from tome_zoo.transformer.build import build
from tome_zoo.transformer.patching import patch, unpatch

SMALL = Architecture(embed_dim=32, depth=3, num_heads=2, patch_size=8, img_size=48, num_classes=5)


@pytest.fixture
def model():
    return build(SMALL, r=6)


@pytest.fixture
def x():
    return torch.randn(2, 3, 48, 48)


def test_equal_to_timm_with_the_same_weights_at_r_0(x):
    ours = build(SMALL)
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=48, patch_size=8, embed_dim=32, depth=3, num_heads=2)
    theirs.reset_classifier(5)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs.eval()(x))


def test_a_block_called_plainly_is_timms(x):
    block = MergingBlock(32, 2)
    tokens = torch.randn(2, 10, 32)
    plain = timm.models.vision_transformer.Block(32, 2)
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block(tokens), plain(tokens))
    merged, size, trace = block(tokens, None, None, 3)
    assert merged.shape == (2, 7, 32)
    assert size.sum(1).tolist() == [10, 10]
    assert trace is None


def test_forward_features_before_and_after_forward(model, x):
    before = model.forward_features(x)
    logits = model(x)
    tokens, size = model.forward_features(x, return_size=True)
    assert torch.equal(tokens, before)
    torch.testing.assert_close(model.forward_head(tokens, size=size), logits, rtol=1e-5, atol=1e-6)
    assert tokens.shape == (2, 37 - 18, 32)
    assert size.sum(1).tolist() == [37, 37]


def test_unmerged_features_are_the_merged_ones_in_their_old_places(model, x):
    trace = model.trace(x)
    merged = model.forward_features(x)
    full = model.forward_features(x, unmerge=True)
    assert full.shape == (2, 37, 32)
    assert torch.equal(full, unmerge(merged, trace.final))
    counts = torch.nn.functional.one_hot(trace.final, merged.shape[1]).sum(1)
    assert torch.equal(counts.float(), trace.size)
    assert [int(step.max()) + 1 for step in trace.blocks] == [31, 25, 19]
    assert (trace.final[:, 0] == 0).all()


def test_average_pooling_weighs_by_size_or_refuses(x):
    model = build(SMALL.model_copy(update={"pool": "avg"}), r=6)
    tokens, size = model.forward_features(x, return_size=True)
    full, ones = model.forward_features(x, unmerge=True, return_size=True)
    assert (ones == 1).all()
    for logits in (
        model.forward_head(tokens, size=size),
        model.forward_head(full, size=ones),
        model.forward_head(full),
    ):
        torch.testing.assert_close(logits, model(x))
    with pytest.raises(ValueError, match="return_size=True"):
        model.forward_head(tokens)
    with pytest.raises(ValueError, match="return_size=True"):
        model.pool(tokens, "avg")


def test_intermediates_cover_the_whole_grid(model, x):
    final, taken = model.forward_intermediates(x, indices=2)
    assert [t.shape for t in taken] == [(2, 32, 6, 6)] * 2
    assert torch.equal(final, model.forward_features(x, unmerge=True))
    assert torch.equal(taken[-1].flatten(2).transpose(1, 2), model.forward_intermediates(x, 1, output_fmt="NLC")[1][0])
    first = model.get_intermediate_layers(x, n=[0], return_prefix_tokens=True, norm=True)[0]
    assert [t.shape for t in first] == [(2, 36, 32), (2, 1, 32)]
    named = model.forward_intermediates(x, 1, output_dict=True, return_prefix_tokens=True, stop_early=True)
    assert set(named) == {"image_intermediates", "image_intermediates_prefix", "image_features"}
    model.r = 0
    assert torch.equal(model.forward_intermediates(x, 1)[0], model.forward_features(x))
    with pytest.raises(ValueError, match="output_fmt"):
        build(SMALL, r=1).forward_intermediates(x, output_fmt="NHWC")


def test_r_can_be_changed_at_any_time(model, x):
    merged = model(x)
    model.r = 0
    plain = model(x)
    model.r = (6, -1.0)
    assert model.forward_features(x).shape[1] == 37 - 18
    model.r = 6
    assert torch.equal(model(x), merged)
    assert not torch.allclose(merged, plain)
    model.prop_attn = False
    assert not torch.allclose(model(x), merged)


def test_threads_do_not_disturb_each_other(model):
    inputs = [torch.randn(2, 3, 48, 48) for _ in range(16)]
    with torch.no_grad():
        alone = [model(x) for x in inputs]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda x: torch.no_grad()(model)(x), inputs))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_merge_alike_and_apart(model, x, duplicate):
    other = duplicate(model)
    assert other.r == 6
    assert torch.equal(other(x), model(x))
    other.r = 0
    assert model.r == 6
    patched = patch(timm.create_model("vit_tiny_patch16_224", depth=2, img_size=48), r=2)
    assert duplicate(patched).r == 2


def test_gradient_checkpointing_gives_the_same_gradients(model, x):
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model.train()(x).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_half_precision_and_autocast(model, x):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        _, size = model.forward_features(x, return_size=True)
    assert size.dtype == torch.float32
    assert size.sum(1).tolist() == [37, 37]
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_compiled_whole(model, x):
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), model(x))
        model.r = [9, 0, 4]
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(cpp_compiler() is None, reason="there is no C++ compiler, which torch.compile needs on a CPU")
def test_compiled_to_machine_code(model, x):
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_compiled_block_serves_every_r_and_batch(model, dtype):
    programs = []

    def backend(graph, inputs):
        programs.append(graph)
        return graph.forward

    model.to(dtype)
    compiled = copy.deepcopy(model)
    compiled.compile("block", backend=backend)
    with torch.no_grad():
        for r, batch in ((6, 2), (3, 5), ((4, -0.5), 3), ([7, 5, 2], 4)):
            model.r = compiled.r = r
            x = torch.randn(batch, 3, 48, 48, dtype=dtype)  # other numbers of tokens in every block
            tolerance = {"atol": 2e-2, "rtol": 2e-2} if dtype == torch.bfloat16 else {}
            torch.testing.assert_close(compiled(x), model(x), **tolerance)
        assert len(programs) == 1
        assert torch.equal(unpatch(copy.deepcopy(compiled))(x), unpatch(copy.deepcopy(model))(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_compiled_as_one_graph(model, x):
    compiled = copy.deepcopy(model)
    compiled.compile("graph", backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))
    with pytest.raises(ValueError, match="'block', 'graph' or 'cuda-graph', got 'fast'"):
        model.compile("fast")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_exported_with_any_batch_size(model, x):
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    for size in (1, 2, 5):
        y = torch.randn(size, 3, 48, 48)
        torch.testing.assert_close(program.module()(y), model(y), atol=1e-5, rtol=1e-5)


def test_masks_are_for_unmerged_models(model, x):
    mask = torch.ones(1, 1, 37, 37, dtype=torch.bool)
    for call in (model, model.forward_features, model.forward_intermediates):
        with pytest.raises(ValueError, match="r = 0"):
            call(x, attn_mask=mask)
    model.r = 0
    torch.testing.assert_close(model(x, attn_mask=mask), model(x))


def test_dynamic_image_size(x):
    model = patch(timm.create_model("vit_tiny_patch16_224", img_size=48, depth=2, dynamic_img_size=True).eval(), r=3)
    wide = torch.randn(1, 3, 48, 96)
    assert model(wide).shape == (1, 1000)
    assert model.forward_features(wide, unmerge=True).shape[1] == 1 + 18


def test_prefix_mean_reads_both_prefix_tokens(x):
    model = build(SMALL.model_copy(update={"pool": "prefix_mean", "reg_tokens": 1}), r=6)
    tokens = model.forward_features(x)
    assert tokens.shape[1] == 38 - 18
    expected = model.head(model.fc_norm((tokens[:, 0] + tokens[:, 1]) / 2))
    torch.testing.assert_close(model(x), expected)
