"""Groups against the trace, pixel by pixel, by slow loops."""

import numpy as np
import pytest
import timm
import torch

import tome_zoo
from tome_zoo import visualize
from tome_zoo.errors import ScheduleError, TomeZooError
from tome_zoo.visualize.token_groups import axis_cells, patch_steps, pixel_cells, token_grid


def small_timm(**options):
    torch.manual_seed(0)
    name = options.pop("name", "vit_tiny_patch16_224")
    return timm.create_model(name, depth=3, num_classes=5, **options).eval()


def check_against_trace(model, view, found, first_token):
    """Every pixel has the group of the token that looks at it; `first_token(*pixel)` gives that token or None."""
    for block, groups in enumerate(found):
        trace = model.trace(view[None]).blocks[block][0].tolist()
        prefix = model.num_prefix_tokens
        assert trace[:prefix] == list(range(prefix))
        assert groups.n_tokens == len(set(trace))
        assert groups.n_input == len(trace)
        assert groups.block == block + 1
        members = [trace.count(prefix + group) for group in range(groups.n_tokens - prefix)]
        assert groups.sizes.tolist() == members
        for pixel in np.ndindex(groups.pixels.shape):
            token = first_token(*pixel)
            expected = -1 if token is None else trace[prefix + token] - prefix
            assert groups.pixels[pixel] == expected


@pytest.mark.parametrize("r", [0, 7, (6, -1.0), [9, 0, 4]])
def test_image_of_any_shape_with_prefix_tokens(r):
    model = tome_zoo.patch(small_timm(img_size=(48, 80), reg_tokens=2), r=r)
    view = torch.randn(3, 48, 80)
    found = visualize.groups_by_block(model, view)
    assert found[0].tokens.shape == (1, 3, 5)
    check_against_trace(model, view, found, lambda y, x: (y // 16) * 5 + x // 16)


def test_distilled_model_with_two_prefix_tokens():
    model = tome_zoo.patch(small_timm(name="deit_tiny_distilled_patch16_224", img_size=64), r=3)
    view = torch.randn(3, 64, 64)
    check_against_trace(model, view, visualize.groups_by_block(model, view), lambda y, x: (y // 16) * 4 + x // 16)


def test_dynamic_size():
    model = tome_zoo.patch(small_timm(img_size=64, dynamic_img_size=True), r=2)
    view = torch.randn(3, 32, 96)
    check_against_trace(model, view, visualize.groups_by_block(model, view), lambda y, x: (y // 16) * 6 + x // 16)


def test_clip():
    model = tome_zoo.create_model("demo_video.motions", r=[50, 20, 0, 5], img_size=(16, 32))
    view = torch.randn(3, 8, 16, 32)
    found = visualize.groups_by_block(model, view)
    assert found[0].tokens.shape == (4, 2, 4)
    check_against_trace(model, view, found, lambda t, y, x: (t // 2) * 8 + (y // 8) * 4 + x // 8)


def overlapping(extent, kernel, stride):
    """Per pixel, by loops over patches: the nearest of those that contain it, the later one if two are as near."""
    count = (extent - kernel) // stride + 1
    nearest = []
    for pixel in range(extent):
        inside = [patch for patch in range(count) if patch * stride <= pixel < patch * stride + kernel]
        distance = {patch: abs(pixel + 0.5 - (patch * stride + kernel / 2)) for patch in inside}
        nearest.append(max(p for p in inside if distance[p] == min(distance.values())) if inside else None)
    return nearest


def test_spectrogram_of_overlapping_patches():
    model = tome_zoo.create_model(
        "audio_vit_base_patch16_1024x128.ast_as2m_ft", r=30, img_size=(96, 44), depth=2, embed_dim=24, num_heads=2
    )
    assert model.num_prefix_tokens == 2
    view = torch.randn(1, 96, 44)
    found = visualize.groups_by_block(model, view)
    frames, bins = overlapping(96, 16, 10), overlapping(44, 16, 10)
    n_bins = (44 - 16) // 10 + 1

    def token(frame, mel):
        return None if frames[frame] is None or bins[mel] is None else frames[frame] * n_bins + bins[mel]

    assert bins[42:] == [None, None]
    check_against_trace(model, view, found, token)


@pytest.mark.parametrize(("extent", "kernel", "stride"), [(64, 8, 8), (100, 16, 10), (31, 7, 3), (50, 16, 5)])
def test_pixels_along_an_axis(extent, kernel, stride):
    count = (extent - kernel) // stride + 1
    expected = [-1 if patch is None else patch for patch in overlapping(extent, kernel, stride)]
    assert axis_cells(extent, kernel, stride, count).tolist() == expected


def test_cells_of_a_hybrid_embedding_follow_its_stride():
    model = timm.create_model("vit_tiny_r_s16_p8_224", img_size=64).eval()
    cells = pixel_cells((64, 64), *patch_steps(model), token_grid(model, (64, 64)))
    assert cells.tolist() == [[(y // 32) * 2 + x // 32 for x in range(64)] for y in range(64)]


def test_the_model_is_left_as_it_was():
    model = small_timm(img_size=64).train()
    before = type(model)
    groups = visualize.groups(model, torch.randn(3, 64, 64), r=4)
    assert type(model) is before
    assert model.training
    assert groups.n_tokens == 17 - 3 * 4
    merging = tome_zoo.patch(model.eval(), r=2)
    assert visualize.groups(merging, torch.randn(3, 64, 64), r=1).n_tokens == 14
    assert merging.r == 2


def test_prediction_is_the_models_at_that_r():
    model = tome_zoo.create_model("demo_audio.sounds", pretrained=True)
    view = torch.randn(1, 256, 64)
    groups = visualize.groups(model, view, r=64, top_k=3)
    model.r = 64
    best = model(view[None])[0].sigmoid().detach().topk(3)
    assert [item.index for item in groups.prediction] == best.indices.tolist()
    assert [item.label for item in groups.prediction] == [model.labels[index] for index in best.indices]
    assert [item.probability for item in groups.prediction] == pytest.approx(best.values.tolist())
    encoder = small_timm(img_size=64)
    encoder.reset_classifier(0)
    assert visualize.groups(encoder, torch.randn(3, 64, 64), r=1).prediction == ()


@pytest.mark.parametrize("r", [0, 5])
def test_groups_and_prediction_take_one_pass(r):
    """Of a model whose head reads the class token alone, too: it is what the whole forward gives."""
    model = tome_zoo.patch(small_timm(img_size=64), r=r)
    view, passes = torch.randn(3, 64, 64), []
    with torch.inference_mode():
        expected = model(view[None])[0].softmax(dim=0).topk(5)
    model.blocks[-1].register_forward_hook(lambda *_: passes.append(1))
    found = visualize.groups(model, view, top_k=5)
    assert len(passes) == 1
    assert [item.index for item in found.prediction] == expected.indices.tolist()
    assert [item.probability for item in found.prediction] == pytest.approx(expected.values.tolist(), abs=1e-6)


def test_what_cannot_be_drawn_is_refused():
    model = small_timm(img_size=64)
    with pytest.raises(TomeZooError, match="block should lie between 1 and 3, got 4"):
        visualize.groups(model, torch.randn(3, 64, 64), r=1, block=4)
    with pytest.raises(TomeZooError, match="one view"):
        visualize.groups(model, torch.randn(2, 3, 64, 64), r=1)
    with pytest.raises(ScheduleError):
        visualize.groups(model, torch.randn(3, 64, 64), r=-1)
