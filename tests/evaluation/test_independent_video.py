"""Kinetics evaluation against loops written out here, with PyAV and the model's forward alone."""

import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tome_zoo import cards, create_model, evaluate
from tome_zoo.evaluation.score_store import read_scores

CARDS = """
[[dataset]]
name = "loop_clips"
modality = "video"
title = "Moving noise"
layout = "video_list"
splits = { val = "val.csv" }
num_classes = 8
license = "none"
origin = "a test"
obtain = "run the test"

[[model]]
name = "loop_video.test"
modality = "video"
architecture = { embed_dim = 16, depth = 2, num_heads = 2, patch_size = 16, img_size = 32, num_classes = 8, pool = "avg", num_frames = 16, tubelet_size = 2 }
input = { mean = [0.4, 0.45, 0.5], std = [0.2, 0.225, 0.25], sampling_rate = 4, target_fps = 30.0, crop_pct = 0.875 }
merging = { r = [0, 4], default_r = 4 }
dataset = "loop_clips"
protocol = "video_10x1"
"""  # noqa: E501
MEAN, STD = torch.tensor([0.4, 0.45, 0.5]).double(), torch.tensor([0.2, 0.225, 0.25]).double()
FILES = (  # frames, frames a second, height, width, codec; two of them with an odd number of pixels to crop
    (150, 30, 40, 54, "libx264"),
    (97, 25, 54, 40, "mpeg4"),
    (131, 50, 36, 36, "libx264"),
    (70, 12, 32, 80, "mpeg4"),
    (20, 30, 48, 64, "libx264"),
    (1, 30, 64, 48, "libx264"),
)
RANKS = (0, 3, 6, 0, 4, 7)  # where each file's class stands among its scores: 2 of 6 first, 4 of 6 among the first five


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six videos, and the card of a model with a data set, registered."""
    root = tmp_path_factory.mktemp("loop")
    rng = np.random.default_rng(0)
    for number, (frames, rate, height, width, codec) in enumerate(FILES):
        still = rng.integers(0, 256, (height, width, 3))
        with av.open(str(root / f"{number}.mp4"), "w") as file:
            stream = file.add_stream(codec, rate=rate, options={"bf": "2", "g": "24"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for time in range(frames):
                picture = np.roll(still, time * (number + 1), axis=number % 2) * (0.3 + 0.7 * math.cos(time / 9) ** 2)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
            file.mux(stream.encode(None))
    (root / "cards").mkdir()
    (root / "cards" / "cards.toml").write_text(CARDS)
    cards.register_cards(root / "cards")
    yield root
    cards.unregister_cards(root / "cards")


@pytest.fixture(scope="module")
def model(folder):
    torch.manual_seed(0)
    model = create_model("loop_video.test").eval()
    with torch.no_grad():
        for parameter in model.parameters():  # timm starts so close to zero that all inputs score alike
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def decode(path: Path):
    """Every frame, [3, frames, height, width] in 0 to 1, and the frames a second."""
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return torch.stack(frames).permute(3, 0, 1, 2).double() / 255, fps


def scaled(frames, short):
    """The short side scaled to `short`, the other one in proportion, rounded down."""
    height, width = frames.shape[2:]
    if min(height, width) == short:
        return frames
    size = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    return F.interpolate(frames, size, mode="bilinear", align_corners=False)


def spatiotemporal_mae(frames, fps, n_crops):
    """Views of 10 clips: 16 frames over 64 frames at 30 a second, whatever the file's own rate."""
    views = []
    total = frames.shape[1]
    length = 4 * 16 / 30 * fps
    step = math.floor(max(total - length, 0) / (10 - 1))
    frames = scaled(frames, 32 if n_crops == 3 else int(32 / 0.875))
    down, right = (math.ceil((side - 32) / 2) for side in frames.shape[2:])
    for clip in range(10):
        start = clip * step
        numbers = torch.linspace(start, start + length - 1, 16).clamp(0, total - 1).long()
        for crop in range(n_crops):
            top, left = down, right
            if n_crops == 3 and frames.shape[2] > frames.shape[3]:
                top = (0, down, frames.shape[2] - 32)[crop]
            elif n_crops == 3:
                left = (0, right, frames.shape[3] - 32)[crop]
            views.append(frames[:, numbers, top : top + 32, left : left + 32])
    return views


def videomae(frames, fps, n_crops):
    """Views of 5 clips of the file's every fourth frame, the last one repeated if they are fewer than 16."""
    frames = scaled(frames, 32)[:, ::4]
    frames = torch.cat([frames, *[frames[:, -1:]] * (16 - frames.shape[1])], dim=1)
    views = []
    for clip in range(5):
        for crop in range(n_crops):
            first = int(clip * max((frames.shape[1] - 16) / (5 - 1), 0))
            place = int(crop * (max(frames.shape[2:]) - 32) / (3 - 1))
            chosen = frames[:, first : first + 16]
            tall = frames.shape[2] >= frames.shape[3]
            views.append(chosen[:, :, place : place + 32] if tall else chosen[..., place : place + 32])
    return views


@pytest.mark.parametrize(
    ("protocol", "views_of", "n_crops"),
    [("video_10x1", spatiotemporal_mae, 1), ("video_10x3", spatiotemporal_mae, 3), ("video_5x3", videomae, 3)],
)
def test_a_plain_kinetics_loop(folder, model, tmp_path, protocol, views_of, n_crops):
    schedules = [0, 4]
    expected = {r: [] for r in schedules}
    spread = []
    for number in range(len(FILES)):
        views = torch.stack(views_of(*decode(folder / f"{number}.mp4"), n_crops))
        assert views.shape == (n_crops * (5 if protocol == "video_5x3" else 10), 3, 16, 32, 32)
        views = ((views - MEAN.view(3, 1, 1, 1)) / STD.view(3, 1, 1, 1)).float()
        for r in schedules:
            model.r = r
            with torch.inference_mode():
                each = model(views).double().softmax(dim=1)
            expected[r].append(each.mean(dim=0).numpy())
            spread.append(float((each - each[0]).abs().max()))
    assert max(spread) > 0.01, "views that score alike show nothing"

    for r in schedules:
        scores = np.array(expected[r])
        order = np.argsort(-scores, axis=1)
        targets = [int(order[number][rank]) for number, rank in enumerate(RANKS)]
        assert np.diff(np.sort(scores, axis=1)).min() > 2e-5, "scores too close to tell which is better"
        (folder / "val.csv").write_text("".join(f"{number}.mp4 {target}\n" for number, target in enumerate(targets)))
        output = tmp_path / f"r{r}"
        (result,) = evaluate(model, folder, r=[r], protocol=protocol, batch_size=7, output=output)
        assert (result.n_expected, result.n_scored, result.n_failed) == (6, 6, 0)
        assert [round(score * 6 / 100, 9) for score in (result.top1, result.top5)] == [2, 4]
        ids, found = read_scores(next((output / "scores").iterdir()))
        assert ids == sorted(ids)
        assert len(ids) == 6
        np.testing.assert_allclose(found, scores, rtol=0, atol=1e-5)
