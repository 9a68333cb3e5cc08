"""Names become models: unmerged and merging on the same weights, with their multiply-accumulates."""

import pytest
import timm
import torch
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tome_zoo import create_model, registry
from tome_zoo.benchmark import models
from tome_zoo.errors import TomeZooError
from tome_zoo.transformer import patching
from tome_zoo.transformer.vit import MergingVisionTransformer

CPU = torch.device("cpu")
SMALL = {"img_size": 64, "depth": 3, "embed_dim": 32, "num_heads": 2}


def build(name, **overrides):
    return models.build(models.find_subject(name, overrides), CPU)


@pytest.mark.parametrize("name", ["tiny_image.test", "tiny_video.test", "tiny_audio.test", "tiny_encoder.test"])
def test_the_baseline_is_timms_class_on_the_same_parameters(tiny_zoo, name):
    built = build(name)
    assert type(built.unmerged) is VisionTransformer
    assert {type(block) for block in built.unmerged.blocks} == {timm.models.vision_transformer.Block}
    assert all(block.attn.fused_attn for block in built.unmerged.blocks)
    assert isinstance(built.merging, MergingVisionTransformer)
    ours, timms = dict(built.merging.named_parameters()), dict(built.unmerged.named_parameters())
    assert ours.keys() == timms.keys()
    assert all(ours[key] is timms[key] for key in ours)
    x = torch.randn(2, *built.shape)
    built.merging.r = 0
    assert torch.equal(built.unmerged(x), built.merging(x))
    built.merging.r = 2
    assert not torch.equal(built.unmerged(x), built.merging(x))


def test_twins_share_tensors_and_nothing_else(tiny_zoo):
    model = create_model("tiny_image.test", r=2)
    other = patching.share_parameters(model)
    other.r = 4
    assert model.r == 2
    assert other.blocks[0] is not model.blocks[0]
    assert other.blocks[0].attn.qkv.weight is model.blocks[0].attn.qkv.weight


def test_a_timm_transformer_merges_too():
    built = build("vit_tiny_patch16_224", img_size=64, depth=2)
    assert isinstance(built.merging, MergingVisionTransformer)
    assert type(built.unmerged) is VisionTransformer
    assert built.shape == (3, 64, 64)
    assert len(built.unmerged.blocks) == 2


def test_a_convolutional_network_takes_another_size():
    built = build("efficientnet_b0", img_size=96)
    assert type(built.unmerged) is EfficientNet
    assert built.merging is None
    assert built.shape == (3, 96, 96)
    assert "efficientnet_b0.ra_in1k cannot merge" in built.unsupported_reason


def test_timm_is_not_given_what_it_does_not_take():
    with pytest.raises(TomeZooError, match=r"efficientnet_b0\.ra_in1k cannot be built with"):
        build("efficientnet_b0", img_size=96, depth=2)


def test_a_pooling_that_timm_does_not_have_works_in_timms_class():
    name = next(n for n in registry.list_models() if create_model(n, device="meta").global_pool == "prefix_mean")
    model = create_model(name, img_size=(160, 128), depth=2)
    built, x = models.unmerged_form(model), torch.randn(1, 1, 160, 128)
    assert type(built) is VisionTransformer
    assert torch.equal(built(x), model(x))


def test_flop_counter_sees_every_matrix_product():
    """Against the closed form less the norms, which the counter leaves out."""
    closed = registry.count_macs(create_model("vit_tiny_patch16_224.augreg_in21k_ft_in1k", device="meta", **SMALL), 0)
    plain = timm.models.vision_transformer.VisionTransformer(
        img_size=64, patch_size=16, depth=3, embed_dim=32, num_heads=2
    )
    plain.blocks[0].__class__ = type("Other", (type(plain.blocks[0]),), {})  # refused, hence counted in the running
    counted = models.cost(plain, None, (3, 64, 64))
    assert counted.counter == models.FLOP_COUNTER
    assert counted.macs == closed.matmul


def test_a_network_without_closed_form_is_counted_by_its_convolutions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    counted = models.cost(Net(), None, (3, 16, 16))
    assert counted.macs == 16 * 16 * 8 * 3 * 9 + 8 * 5
    assert counted.tokens_out is None


def test_scores_are_the_cards():
    subject = models.find_subject("vit_large_patch16_224.mae_ft_in1k")
    assert subject.score(8) == (84.22, "top1", "reported")
    assert subject.score(None) == subject.score(0)
    assert subject.score(7) is None
    assert models.find_subject("vit_large_patch16_224.mae_ft_in1k", {"img_size": 448}).score(8) is None
    assert models.find_subject("demo_audio.sounds").score(0)[1:] == ("map", "measured")
    assert models.find_subject("efficientnet_b0").score(0) is None


def test_a_patched_model_is_copied_with_its_own_settings():
    plain = timm.create_model("vit_tiny_patch16_224", **SMALL).eval()
    model = patching.patch(plain, r=1, prop_attn=False)
    subject = models.find_subject(model)
    built = models.build(subject, CPU, torch.bfloat16)
    assert (subject.name, built.shape) == ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", (3, 64, 64))
    assert subject.score(0) is None
    assert (built.merging.prop_attn, next(model.parameters()).dtype) == (False, torch.float32)
    assert torch.equal(built.merging.pos_embed, model.pos_embed.bfloat16())
    with pytest.raises(TomeZooError, match="keeps its shape; got overrides of depth"):
        models.find_subject(model, {"depth": 2})
    with pytest.raises(TomeZooError, match=r"timm\.\S+VisionTransformer: call tome_zoo\.patch"):
        models.find_subject(patching.unpatch(plain))
