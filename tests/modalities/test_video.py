"""Clip and crop sampling, decoding and tokenizing of videos."""

import math
import pickle
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from tome_zoo import modalities
from tome_zoo.data.dataset import Dataset, Sample
from tome_zoo.data.decode import decode
from tome_zoo.errors import CardError, MediaError, UnsupportedModelError
from tome_zoo.modalities import _video_crops, _video_frames, video
from tome_zoo.modalities.inputs import VideoInput
from tome_zoo.transformer.embed import TubeletEmbed


class Recording:
    """A video in memory whose frames are known."""

    def __init__(self, pictures: np.ndarray, fps: float | None) -> None:
        self.pictures, self.fps, self.num_frames = pictures, fps, len(pictures)

    def stream(self, indices):
        return iter(self.pictures[list(indices)])


# Sampling ------------------------------------------------------------------------------------------------------------


def test_it_is_the_modality_called_video():
    assert modalities.get("video") is video


def test_a_published_case_by_hand():
    length = video.clip_length(16, 4, 30.0, 30.0)
    assert length == 64
    assert video.clip_starts(300, length, 10) == [0, 26, 52, 78, 104, 130, 156, 182, 208, 234]
    assert video.clip_starts(300, length, 1) == [118]
    assert video.frame_indices(26, length, 16, 300)[:4] == [26, 30, 34, 38]
    assert video.frame_indices(26, length, 16, 300)[-1] == 89


@settings(deadline=None)
@given(
    total=st.integers(1, 400),
    n_clips=st.integers(1, 12),
    n_frames=st.integers(1, 32),
    rate=st.integers(1, 8),
    fps=st.sampled_from([None, 10.0, 24000 / 1001, 25.0, 29.97, 30.0, 60.0]),
)
def test_sampling_agrees_with_a_slow_loop(total, n_clips, n_frames, rate, fps):
    length = video.clip_length(n_frames, rate, 30.0, fps)
    exact = Fraction(rate * n_frames, 30) * Fraction(fps or 30.0)
    assert math.isclose(length, exact, rel_tol=1e-12)
    spare = max(Fraction(total) - Fraction(length), Fraction(0))
    starts = video.clip_starts(total, length, n_clips)
    assert len(starts) == n_clips
    for clip, start in enumerate(starts):
        each = spare / 2 if n_clips == 1 else spare / (n_clips - 1)
        expected = {math.floor(each), math.floor(each + Fraction(1, 10**9))}  # float64 may round up to a whole number
        assert start in ({clip * number for number in expected} if n_clips > 1 else expected)
        found = video.frame_indices(start, length, n_frames, total)
        assert len(found) == n_frames
        for place, number in enumerate(found):
            step = Fraction(0) if n_frames == 1 else (Fraction(length) - 1) * place / (n_frames - 1)
            position = min(max(start + step, Fraction(0)), Fraction(total - 1))
            near_a_whole_number = abs(position - round(position)) < Fraction(1, 1000)
            assert number == math.floor(position) or (near_a_whole_number and abs(number - position) < 2)


def test_a_video_shorter_than_a_clip_repeats_its_last_frame():
    assert video.frame_indices(0, 64, 16, 20) == [0, 4, 8, 12, 16] + [19] * 11
    assert video.clip_starts(20, 64, 3) == [0, 0, 0]
    assert video.frame_indices(0, 64, 16, 1) == [0] * 16


@settings(deadline=None)
@given(
    total=st.integers(1, 400),
    n_clips=st.integers(1, 12),
    n_frames=st.integers(1, 32),
    stride=st.integers(1, 8),
    fps=st.sampled_from([None, 15.0, 60.0]),
)
def test_strided_sampling_agrees_with_a_slow_loop(total, n_clips, n_frames, stride, fps):
    expected = []
    strided = [number for number in range(total) if number % stride == 0]
    while len(strided) < n_frames:
        strided.append(strided[-1])
    for clip in range(n_clips):
        step = max((len(strided) - n_frames) / (n_clips - 1), 0) if n_clips > 1 else 0
        start = int(clip * step) if n_clips > 1 else (len(strided) - n_frames) // 2
        expected.append([strided[start + place] for place in range(n_frames)])
    model = VideoInput(mean=(0, 0, 0), std=(1, 1, 1), sampling_rate=stride)
    protocol = SimpleNamespace(temporal_views=n_clips, spatial_views=3, sampling="strided")
    assert video.clips(total, fps, n_frames, model, protocol) == expected


def test_a_strided_case_by_hand():
    found = video.strided_clips(302, 4, 16, 5)  # 76 strided frames, a step of 15
    assert [clip[0] // 4 for clip in found] == [0, 15, 30, 45, 60]
    assert found[1] == list(range(60, 124, 4))
    assert video.strided_clips(9, 4, 4, 2) == [[0, 4, 8, 8]] * 2
    assert video.strided_clips(11, 1, 4, 3) == [[0, 1, 2, 3], [3, 4, 5, 6], [7, 8, 9, 10]]  # 3.5 is rounded down
    assert video.strided_clips(11, 1, 4, 1) == [[3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("height", "width", "target", "expected"),
    [
        (240, 320, (224, 224), (224, 298)),
        (320, 240, (224, 224), (298, 224)),
        (256, 341, (256, 256), (256, 341)),
        (100, 100, (224, 224), (224, 224)),
        (480, 360, (360, 360), (480, 360)),
        (100, 400, (64, 128), (64, 256)),
        (400, 100, (64, 128), (512, 128)),
    ],
)
def test_scaled_sizes(height, width, target, expected):
    assert _video_crops.scaled_size(height, width, target) == expected


def test_crops_lie_along_the_long_side():
    assert _video_crops.crop_offsets(224, 299, (224, 224), 3) == [(0, 0), (0, 38), (0, 75)]
    assert _video_crops.crop_offsets(299, 224, (224, 224), 3) == [(0, 0), (38, 0), (75, 0)]
    assert _video_crops.crop_offsets(256, 341, (224, 224), 1) == [(16, 59)]
    assert _video_crops.crop_offsets(224, 299, (224, 224), 3, math.floor) == [(0, 0), (0, 37), (0, 75)]
    with pytest.raises(CardError, match="1 or 3"):
        _video_crops.crop_offsets(224, 224, (224, 224), 2)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (56, 40), (32, 32), (90, 33)])
@pytest.mark.parametrize("n_crops", [1, 3])
@pytest.mark.parametrize("total", [1, 7, 61])
def test_views_agree_with_a_slow_loop(video_spec, views_of, height, width, n_crops, total):
    spec = video_spec(32, 8, sampling_rate=2)
    pictures = np.random.default_rng(0).integers(0, 256, (total, height, width, 3), dtype=np.uint8)
    found = video.views(Recording(pictures, 25.0), spec, views_of(3, n_crops))
    assert found.shape == (3 * n_crops, 3, 8, 32, 32)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    side = 32 if n_crops == 3 else 36
    length = 2 * 8 / 30 * 25.0
    for view in range(3 * n_crops):
        clip, crop = divmod(view, n_crops)
        start = clip * math.floor(max(total - length, 0) / 2)
        for place, position in enumerate(torch.linspace(start, start + length - 1, 8)):
            frame = torch.tensor(pictures[int(min(max(position.item(), 0), total - 1))]).permute(2, 0, 1)[None].double()
            tall = height > width
            new = (math.floor(height / width * side), side) if tall else (side, math.floor(width / height * side))
            frame = F.interpolate(frame / 255, new, mode="bilinear", align_corners=False)[0]
            spare = (new[0] - 32, new[1] - 32)
            top, left = math.ceil(spare[0] / 2), math.ceil(spare[1] / 2)
            if n_crops == 3 and tall:
                top = (0, top, spare[0])[crop]
            elif n_crops == 3:
                left = (0, left, spare[1])[crop]
            expected = (frame[:, top : top + 32, left : left + 32] - 0.45) / 0.225
            torch.testing.assert_close(found[view, :, place].double(), expected, rtol=0, atol=1e-4)


def test_the_picture_may_change_its_size_on_the_way(video_spec, views_of):
    spec, rng = video_spec(32, 4, sampling_rate=1), np.random.default_rng(0)
    sizes = [(40, 56), (36, 36), (40, 56), (90, 33)]
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    mixed = SimpleNamespace(num_frames=4, fps=30.0, stream=lambda numbers: (pictures[number] for number in numbers))
    for n_crops in (1, 3):
        found = video.views(mixed, spec, views_of(1, n_crops))
        for place, picture in enumerate(pictures):
            alone = video.views(Recording(picture[None], 30.0), spec, views_of(1, n_crops))
            assert torch.equal(found[:, :, place], alone[:, :, 0])


def test_an_unknown_rate_counts_as_the_models(video_spec, views_of):
    pictures = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    views = [video.views(Recording(pictures, fps), video_spec(), views_of(2)) for fps in (None, 30.0)]
    assert torch.equal(*views)


def test_pictures_that_would_explode_when_scaled_are_refused(video_spec, views_of):
    with pytest.raises(MediaError, match="too long and narrow"):
        video.views(Recording(np.zeros((1, 1, 200_000, 3), dtype=np.uint8), 25.0), video_spec(), views_of())


def test_models_of_something_else_are_refused(video_spec, image_spec, views_of):
    pictures = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(CardError, match="VideoInput"):
        video.views(Recording(pictures, 25.0), image_spec(), views_of())
    spec = video_spec()
    spec.architecture = spec.architecture.model_copy(update={"in_chans": 1})
    with pytest.raises(CardError, match="in_chans = 1"):
        video.views(Recording(pictures, 25.0), spec, views_of())


# Files ---------------------------------------------------------------------------------------------------------------


def test_decord_and_pyav_give_the_same_views(write_video, video_spec, views_of, monkeypatch):
    pytest.importorskip("decord")
    path = write_video(frames=70, rate=25)
    monkeypatch.setattr(_video_frames, "_FEW", 0)
    reader = video.read(path)
    by_decord = video.views(reader, video_spec(), views_of(4, 3))
    assert reader.decoder == "decord"
    monkeypatch.setattr(_video_frames, "_decord_module", lambda: None)
    reader = video.read(path)
    assert torch.equal(video.views(reader, video_spec(), views_of(4, 3)), by_decord)
    assert reader.decoder == "pyav"


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_decode(write_video, video_spec, views_of, workers):
    paths = [write_video(f"{number}.mp4", frames=20 + number) for number in range(3)]
    video.read(paths[0]).frames([0])  # decord has been used in this process before it starts others
    samples = tuple(Sample(path.name, path, 0) for path in [*paths, paths[0].with_name("none.mp4")])
    dataset = Dataset(SimpleNamespace(modality="video"), paths[0].parent, "val", samples, ())
    found = list(decode(dataset, range(4), video_spec(), views_of(2), workers=workers))
    assert [item.index for item in found] == [0, 1, 2, 3]
    for path, item in zip(paths, found, strict=False):
        assert item.reason is None
        assert torch.equal(item.views, video.views(video.read(path), video_spec(), views_of(2)))
    assert found[3].views is None
    assert "no such file" in found[3].reason


# Tokens --------------------------------------------------------------------------------------------------------------


def test_tubelets_are_time_major_then_row_by_row():
    embed = TubeletEmbed((8, 12), 4, 3, 5, num_frames=6, tubelet_size=2)
    x = torch.randn(2, 3, 6, 8, 12)
    tokens = embed(x)
    assert tokens.shape == (2, 18, 5)
    assert embed.proj.weight.shape == (5, 3, 2, 4, 4)
    assert (embed.grid_size, embed.num_patches, embed.feat_ratio(), embed.feat_ratio(False)) == (
        (3, 2, 3), 18, 4, (2, 4, 4),
    )  # fmt: skip
    for number in range(18):
        t, row, column = number // 6, number // 3 % 2, number % 3
        tubelet = x[1, :, 2 * t : 2 * t + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        expected = (embed.proj.weight * tubelet).sum((1, 2, 3, 4)) + embed.proj.bias
        torch.testing.assert_close(tokens[1, number], expected)


def test_tubelets_serve_timms_transformer(video_spec):
    architecture = video_spec(32, 8).architecture
    model = VisionTransformer(
        img_size=32, patch_size=4, embed_dim=8, depth=1, num_heads=1, num_classes=2,
        embed_layer=video.embed_layer(architecture),
    )  # fmt: skip
    assert model.pos_embed.shape == (1, 1 + math.prod(architecture.grid), 8)
    assert video.token_grid(video_spec(32, 8)) == model.patch_embed.grid_size == (4, 8, 8)
    assert model(torch.randn(2, 3, 8, 32, 32)).shape == (2, 2)
    assert "patch_embed.proj.weight" in model.state_dict()
    pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("shape", [(2, 3, 8, 32, 31), (2, 3, 7, 32, 32), (2, 1, 8, 32, 32), (3, 8, 32, 32)])
def test_inputs_of_another_shape_are_refused(shape):
    embed = TubeletEmbed(32, 4, 3, 8, num_frames=8, tubelet_size=2)
    with pytest.raises(ValueError, match=r"expected an input of shape \[batch, 3, 8, 32, 32\], got \["):
        embed(torch.zeros(shape))


def test_variable_input_sizes_are_refused(video_spec):
    embed_layer = video.embed_layer(video_spec(32, 8).architecture)
    with pytest.raises(UnsupportedModelError, match="fixed"):
        VisionTransformer(img_size=32, patch_size=4, embed_dim=8, num_heads=1, dynamic_img_size=True,
                          embed_layer=embed_layer)  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="dynamic_img_pad"):
        embed_layer(img_size=32, patch_size=4, dynamic_img_pad=True)
    embed = embed_layer(img_size=32, patch_size=4)
    assert embed.dynamic_feat_size((32, 32)) == (4, 8, 8)
    for call in (lambda: embed.dynamic_feat_size((64, 64)), lambda: embed.set_input_size(img_size=64)):
        with pytest.raises(UnsupportedModelError, match="8 x 32 x 32"):
            call()
    with pytest.raises(TypeError, match="colour"):
        embed_layer(colour="red")


def test_an_architecture_without_frames_has_no_tubelets(image_spec, video_spec):
    with pytest.raises(CardError, match="num_frames"):
        video.embed_layer(image_spec().architecture)
    with pytest.raises(CardError, match="overlap"):
        video.embed_layer(video_spec().architecture.model_copy(update={"patch_stride": 2}))
