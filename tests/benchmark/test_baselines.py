"""Baselines: what their cards say against the libraries that build them, and that they are timed but never merged."""

import pytest
import timm
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import tome_zoo
from tome_zoo.benchmark import benchmark, models
from tome_zoo.benchmark.baselines import build_baseline
from tome_zoo.cards import baseline_cards
from tome_zoo.errors import TomeZooError, UnsupportedModelError

CPU = torch.device("cpu")
CARDS = baseline_cards()


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_says_what_the_library_builds(name):
    card = CARDS[name]
    with torch.device("meta"):
        model, shape = build_baseline(card, {})
        assert shape == card.input
        assert sum(p.numel() for p in model.parameters()) == card.parameters
        assert card.num_classes == (1000 if card.modality == "image" else 400)
        if card.library == "timm":
            assert timm.is_model_pretrained(name)
            assert timm.get_pretrained_cfg(name).license == card.license


def test_reported_figures_of_videos_are_torchvisions():
    for name, card in CARDS.items():
        if card.library == "torchvision":
            weights = torchvision.models.get_model_weights(card.builder)[name.split(".")[1].upper()]
            figures = weights.meta["_metrics"]["Kinetics-400"]
            assert (card.reported[0].top1, card.reported[0].top5) == (figures["acc@1"], figures["acc@5"])
            assert card.parameters == weights.meta["num_params"]


@pytest.mark.parametrize(("name", "fields", "shape"), [
    ("tf_efficientnet_b4.aa_in1k", {"img_size": 64}, (3, 64, 64)),
    ("swin_base_patch4_window7_224.ms_in1k", {"img_size": 56}, (3, 56, 56)),
    ("mvitv2_base.fb_in1k", {"img_size": 64}, (3, 64, 64)),
    ("convnext_small.fb_in1k", {"img_size": [32, 64]}, (3, 32, 64)),
    ("swin3d_t.kinetics400_v1", {"img_size": 32, "num_frames": 4}, (3, 4, 32, 32)),
])  # fmt: skip
def test_a_small_one_runs_in_the_shape_that_it_says(name, fields, shape):
    built = models.build(models.find_subject(name, fields), CPU)
    assert built.merging is None
    assert "cannot merge" in built.unsupported_reason
    assert built.shape == shape
    with torch.inference_mode():
        assert built.unmerged(torch.zeros(1, *shape)).shape == (1, CARDS[name].num_classes)


def test_multiply_accumulates_are_those_that_torchvision_prints():
    """Its figure leaves out what is not a convolution or a linear layer; attention products come on top."""
    card = CARDS["mvit_v1_b.kinetics400_v1"]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model, shape = build_baseline(card, {})
        model(torch.zeros(1, *shape))
    assert counter.get_total_flops() / 2e9 == pytest.approx(card.reported[0].gmacs, rel=0.01)


def test_a_baseline_is_timed_beside_merging_models_and_keeps_its_reported_score(tiny_zoo):
    names = ["tiny_image.test", "tf_efficientnet_b4.aa_in1k"]
    cells = list(benchmark(names, overrides=[{"img_size": 32}], r=[0], rounds=1, device="cpu"))
    assert [record.variant for record in cells[1]] == ["unmerged"]
    assert [cell[0].source for cell in cells] == ["tome-zoo", "timm"]
    assert all(record.ok for cell in cells for record in cell)
    assert models.find_subject(names[1]).score(None) == (83.04, "top1", "reported")


def test_what_merges_is_refused():
    (cell,) = benchmark(
        ["swin3d_t.kinetics400_v1"], overrides=[{"img_size": 32, "num_frames": 2}], r=[4], rounds=1, device="cpu"
    )
    assert [(record.source, record.status) for record in cell] == [("torchvision", "ok"), ("torchvision", "refused")]
    for call in (tome_zoo.create_model, lambda name: tome_zoo.predict(name, "x.png")):
        with pytest.raises(UnsupportedModelError, match=r"swin3d_b.* is a baseline"):
            call("swin3d_b.kinetics400_v1")
    with pytest.raises(UnsupportedModelError, match="patch serves timm's"):
        tome_zoo.patch(torchvision.models.video.swin3d_t(), r=8)
    with pytest.raises(TomeZooError, match="'depth' of the baseline"):
        models.build(models.find_subject("mvitv2_base.fb_in1k", {"depth": 3}), CPU)
    with pytest.raises(TomeZooError, match="what can: nothing"):
        models.build(models.find_subject("mvit_v2_s.kinetics400_v1", {"img_size": 64}), CPU)
