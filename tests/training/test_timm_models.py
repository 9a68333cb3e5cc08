"""A timm model that has been patched is embedded and trained as a model of the zoo is."""

import numpy as np
import pytest
import timm
import torch

import tome_zoo
from tome_zoo import cards
from tome_zoo.errors import UnsupportedModelError


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_384", img_size=32, embed_dim=24, depth=2, num_heads=2).eval()


def test_embed(shapes, plain):
    x = torch.stack([tome_zoo.create_model("vit_tiny_patch16_384", img_size=32, device="meta").preprocess(s.path)[0]
                     for s in shapes.samples[:2]])  # fmt: skip
    with torch.no_grad():
        expected = plain.forward_head(plain.forward_features(x), pre_logits=True)
    model = tome_zoo.patch(plain)
    made = tome_zoo.embed(model, shapes, workers=0)
    np.testing.assert_allclose(made.features[:2], expected.numpy(), atol=1e-5)
    assert not hasattr(model, "card")


def test_train(shapes, plain, tmp_path):
    model = tome_zoo.patch(plain, r=1)
    before = model.blocks[0].attn.qkv.weight.detach().clone()
    done = tome_zoo.train(
        model, shapes, output=tmp_path / "run", r=1, epochs=1, lr=1e-2, batch_size=10, accum=1, workers=0,
        evaluations=1, name="vit_tiny_patch16_384.own",
    )  # fmt: skip
    assert not torch.equal(model.blocks[0].attn.qkv.weight, before)
    cards.register_cards(done.folder)
    try:
        back = tome_zoo.create_model(done.name, pretrained=True)
    finally:
        cards.unregister_cards(done.folder)
    assert (back.card.timm, back.labels) == ("vit_tiny_patch16_384.augreg_in21k_ft_in1k", shapes.labels)


def test_a_model_that_does_not_merge_is_refused_by_name(shapes, plain, tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"timm\.\S+VisionTransformer: call tome_zoo\.patch"):
        tome_zoo.embed(plain, shapes)
    with pytest.raises(UnsupportedModelError, match=r"timm\.\S+VisionTransformer: call tome_zoo\.patch"):
        tome_zoo.train(plain, shapes, output=tmp_path / "run")
