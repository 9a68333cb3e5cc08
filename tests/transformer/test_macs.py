"""Multiply-accumulates: every digit that the paper prints, and what torch counts in the running model."""

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from tome_zoo import modalities
from tome_zoo.errors import UnsupportedModelError
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.build import build
from tome_zoo.transformer.macs import count_macs
from tome_zoo.transformer.patching import patch

VIT_L = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "num_classes": 1000, "pool": "avg"}
VIT_H = {"embed_dim": 1280, "depth": 32, "num_heads": 16, "num_classes": 1000, "pool": "avg", "patch_size": 14}
DEIT_S = {"embed_dim": 384, "depth": 12, "num_heads": 6, "num_classes": 1000}
AUDIO = {"embed_dim": 768, "depth": 12, "num_heads": 12, "num_classes": 527, "pool": "avg", "in_chans": 1}
AUDIO |= {"img_size": (1024, 128)}
VIDEO = VIT_L | {"num_classes": 400, "num_frames": 16, "tubelet_size": 2}


@pytest.mark.parametrize(
    ("architecture", "r", "printed"),
    [
        *((VIT_L, 0, "61.6"), (VIT_L, 8, "31.0"), (VIT_L, (8, -1.0), "22.3")),
        *((VIT_H, 0, "167.4"), (VIT_H, 7, "92.9"), (VIT_H, (7, -1.0), "72.6")),
        *((DEIT_S, 0, "4.6"), (DEIT_S, 13, "2.7")),
        *((AUDIO, 0, "48.6"), (AUDIO, 20, "36.3"), (AUDIO, 40, "24.7")),
        *((VIDEO, 0, "598"), (VIDEO, 55, "325"), (VIDEO, 65, "281"), (VIDEO, (65, -1.0), "184")),
    ],
)
def test_the_papers_figures(architecture, r, printed):
    shape = Architecture(**architecture)
    embed_layer = modalities.get("image" if shape.num_frames is None else "video").embed_layer(shape)
    macs = count_macs(build(shape, embed_layer=embed_layer, device="meta"), r)
    decimals = len(printed.partition(".")[2])
    assert f"{macs.gmacs:.{decimals}f}" == printed
    assert macs.total == macs.matmul + macs.norm + macs.matching
    if r == 0:
        assert macs.matching == 0


@pytest.mark.parametrize("r", [0, 1, 5, (4, -1.0), [9, 0, 4], 99])
@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_siglip_224",
        "vit_medium_patch16_gap_240",
    ],
)
def test_matrix_products_equal_what_torch_counts(name, r):
    """torch counts two operations a multiply-accumulate, the similarity matrices included."""
    with torch.device("meta"):
        model = timm.create_model(name, depth=4).eval().requires_grad_(False)
        patch(model, r=r)
        x = torch.empty(1, 3, *model.patch_embed.img_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            tokens, size = model.forward_features(x, return_size=True)  # all of them, also in the last block
            model.forward_head(tokens, size=size)
    macs = count_macs(model)
    assert 2 * (macs.matmul + macs.matching) == counter.get_total_flops()
    assert count_macs(model, r) == macs


def test_a_class_tokens_last_block_costs_less_than_the_convention_counts(flops):
    """`forward` leaves out what the head does not read; the paper counts it, and so do we."""
    model, counted = build(Architecture(**DEIT_S | {"depth": 2, "embed_dim": 48, "num_heads": 3}), r=8), []
    for call in (model, lambda x: model.forward_head(model.forward_features(x))):
        with flops() as counter, torch.no_grad():
            call(torch.zeros(1, 3, 224, 224))
        counted.append(counter.total)
    assert counted[0] < 0.8 * counted[1]


@pytest.mark.parametrize(("prefix", "n"), [(0, 9), (0, 10), (1, 9), (1, 10), (2, 9), (5, 12), (5, 13)])
def test_similarity_matrix_of_any_prefix_and_parity(prefix, n):
    """Positions behind the prefix split by their parity; the product of both counts is the matrix."""
    model = build(
        Architecture(
            embed_dim=8, depth=1, num_heads=2, patch_size=4, img_size=(4, 4 * (n - prefix)), num_classes=0, pool="avg",
            class_token=prefix > 0, reg_tokens=max(0, prefix - 1),
        ),
        r=2,
    )  # fmt: skip
    even = sum(position % 2 == 0 for position in range(prefix, n))
    assert count_macs(model).matching == even * (n - prefix - even) * 4


def test_norms_count_five_for_each_element():
    model = build(Architecture(embed_dim=8, depth=2, num_heads=2, patch_size=4, img_size=8, num_classes=3))
    assert count_macs(model, 0).norm == 5 * 8 * 5 * (2 * 2 + 1)
    assert count_macs(model, [2]).norm == 5 * 8 * (5 + 3 + 3 + 3 + 3)


def test_a_stem_of_several_convolutions_is_counted():
    model = timm.create_model("vit_tiny_r_s16_p8_224", img_size=64).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.patch_embed(torch.zeros(1, 3, 64, 64))
    counted = count_macs(model)
    stem = counter.get_total_flops() // 2
    assert stem > 1e6
    model.patch_embed.proj = torch.nn.Identity()
    del model.patch_embed.backbone
    model.patch_embed.img_size = None
    with pytest.raises(UnsupportedModelError, match="flop_counter"):
        count_macs(model)
    plain = timm.create_model("vit_tiny_patch16_224", img_size=32)  # the same blocks on as many tokens
    whole, rest = counted.matmul - stem, count_macs(plain)
    assert counted.tokens == rest.tokens
    assert whole == rest.matmul - 4 * plain.patch_embed.proj.weight.numel()
