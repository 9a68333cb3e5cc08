"""Position embeddings of another grid: timm's resampling of images, time and space apart of clips, mel bins kept."""

import pytest
import timm
import torch
from torch.nn import functional as F

import tome_zoo
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.layouts import convert
from tome_zoo.weights.position import fit_pos_embed

NAME = "deit_tiny_patch16_224.fb_in1k"
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 4}
VIDEO = "video_vit_large_patch16_224.mae_st_k400"


def architecture(name, **fields):
    return tome_zoo.create_model(name, device="meta", **fields).card.architecture


@pytest.mark.parametrize("size", [24, 48, (32, 64)])
def test_an_image_model_of_another_size_is_timms(tmp_path, size, caplog):
    model = tome_zoo.create_model(NAME, img_size=32, **TINY)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    reference = timm.models.VisionTransformer(img_size=size, **TINY).eval()
    timm.models.load_checkpoint(
        reference, str(tmp_path / "w.pth"), filter_fn=timm.models.vision_transformer.checkpoint_filter_fn
    )
    loaded = tome_zoo.create_model(NAME, weights=tmp_path / "w.pth", img_size=size, **TINY)
    assert torch.equal(loaded.pos_embed, reference.pos_embed)
    assert "pos_embed resampled from a grid of 4 x 4 tokens to" in caplog.text
    x = torch.randn(1, 3, *(size if isinstance(size, tuple) else (size, size)))
    torch.testing.assert_close(loaded(x), reference(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "prefix", "sizes"),
    [
        ("deit3_small_patch16_224.fb_in1k", 1, (64, 96)),  # one row for each patch, none for the class token
        ("vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k", 4, (96, 64)),
        ("vit_base_patch16_siglip_224.webli", 0, (64, (32, 96))),
        ("deit_tiny_distilled_patch16_224.fb_in1k", 2, (64, 96)),
    ],
)
def test_models_of_timm_of_another_size_are_timms(tmp_path, name, prefix, sizes, caplog):
    small, (before, after) = {"embed_dim": 24, "depth": 2, "num_heads": 3}, sizes
    torch.save(timm.create_model(name, img_size=before, **small).state_dict(), tmp_path / "w.pth")
    reference = timm.create_model(name, img_size=after, **small).eval()
    timm.models.load_checkpoint(
        reference, str(tmp_path / "w.pth"), filter_fn=timm.models.vision_transformer.checkpoint_filter_fn
    )
    loaded = tome_zoo.create_model(name, weights=tmp_path / "w.pth", img_size=after, **small)
    assert loaded.num_prefix_tokens == prefix
    assert torch.equal(loaded.pos_embed, reference.pos_embed)
    assert "pos_embed resampled" in caplog.text
    x = torch.randn(1, 3, *(after if isinstance(after, tuple) else (after, after)))
    assert torch.equal(loaded(x), reference(x))


def test_the_same_grid_is_left_as_it_is(caplog):
    shape = architecture(NAME, img_size=32, **TINY)
    position = torch.randn(1, 17, 24)
    assert fit_pos_embed(position, shape, "image") is position
    assert caplog.text == ""


@pytest.mark.parametrize("tokens", [7, 0, 18])
def test_what_is_no_square_is_left_to_the_strict_load(tokens):
    position = torch.randn(1, 1 + tokens, 24)
    assert fit_pos_embed(position, architecture(NAME, img_size=32, **TINY), "image") is position


def test_a_spectrogram_keeps_its_mel_bins():
    name = "audio_vit_base_patch16_1024x128.audiomae_as2m_ft"
    shape = architecture(name, img_size=(128, 64), embed_dim=24, num_heads=3)  # 8 x 4 tokens
    along = torch.linspace(-1, 1, 16)[:, None].expand(16, 4)  # over time
    across = torch.tensor([3.0, -1.0, 4.0, 1.0]).expand(16, 4)  # over mel bins
    position = torch.cat([torch.zeros(1, 1, 24), (along + across).reshape(1, 64, 1).expand(1, 64, 24)], dim=1)
    found = fit_pos_embed(position, shape, "audio")[0, 1:, 0].reshape(8, 4)
    torch.testing.assert_close(found - found[:, :1], across[:8] - 3.0)
    expected = F.interpolate(along[None, None], size=(8, 4), mode="bicubic", antialias=True)[0, 0, :, 0]
    torch.testing.assert_close(found[:, 0] - 3.0, expected)


def test_space_and_time_of_a_clip_are_resampled_apart(golden):
    """Against torch on each part by itself, stored apart and joined."""
    state = {k.removeprefix("weights."): v for k, v in golden("mae_st_video").items() if k.startswith("weights.")}
    small = {"patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3}
    shape = architecture(VIDEO, img_size=48, num_frames=8, **small)  # 4 x 6 x 6; the file has 2 x 4 x 4
    found = convert(state, "mae_st", shape)["pos_embed"]
    space = F.interpolate(
        state["pos_embed_spatial"].reshape(1, 4, 4, 48).permute(0, 3, 1, 2), size=(6, 6), mode="bicubic", antialias=True
    )
    time = F.interpolate(  # the channels as width
        state["pos_embed_temporal"][None], size=(4, 48), mode="bicubic", antialias=True
    )[0].transpose(1, 2)[..., None]
    expected = space.flatten(2)[:, :, None] + time  # [1, channels, time, space]
    torch.testing.assert_close(found[:, 1:], expected.flatten(2).transpose(1, 2), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[:, :1], state["pos_embed_class"])

    short, large = (architecture(VIDEO, img_size=size, num_frames=4, **small) for size in (32, 48))
    joint = fit_pos_embed(convert(state, "mae_st", short)["pos_embed"], large, "video")
    expected = space.flatten(2)[:, :, None] + state["pos_embed_temporal"].transpose(1, 2)[..., None]
    torch.testing.assert_close(joint[:, 1:], expected.flatten(2).transpose(1, 2), atol=1e-6, rtol=1e-6)


def test_a_clip_of_two_possible_grids_is_refused():
    shape = architecture(VIDEO, embed_dim=24, num_heads=3)  # 8 x 14 x 14
    position = torch.zeros(1, 1 + 2 * 14 * 14, 24)
    with pytest.raises(CheckpointError, match=r"392 tokens, which may be 2 x 14 x 14 or 8 x 7 x 7.*num_frames"):
        fit_pos_embed(position, shape, "video")
