"""Prediction of whatever a person has: the same answer for a path, an open file, an image, an array and a tensor."""

import io
import itertools
import logging
import wave

import av
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

import tome_zoo
from tome_zoo.errors import DataError, MediaError, TomeZooError, UnsupportedModelError
from tome_zoo.evaluation.prediction import classify, classify_windows, predict


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png", pixels


def load(modality, **options):
    return tome_zoo.create_model(f"tiny_{modality}.test", pretrained=True, **options)


def same(one, other):
    assert [item.index for item in one] == [item.index for item in other]
    assert [item.probability for item in one] == pytest.approx([item.probability for item in other], abs=1e-6)


def test_an_image_in_every_form(tiny_zoo, picture):
    path, pixels = picture
    model = load("image", r=2)
    wanted = predict(model, path)
    assert [item.label for item in wanted] != []
    same(predict(model, str(path)), wanted)
    with path.open("rb") as file:
        same(predict(model, file), wanted)
    same(predict(model, io.BytesIO(path.read_bytes())), wanted)
    same(predict(model, Image.open(path)), wanted)
    same(predict(model, pixels), wanted)
    same(predict(model, torch.from_numpy(pixels).permute(2, 0, 1)), wanted)
    same(predict(model, torch.from_numpy(pixels).permute(2, 0, 1) / 255), wanted)
    same(predict("tiny_image.test", path), predict(load("image"), path))
    assert classify(model, path).coverage == ""


def test_a_photograph_is_turned_upright_here_and_not_in_evaluations(tiny_zoo, tmp_path, picture):
    """Stored on its side with the note of a camera (6: turn it by 90 degrees clockwise to see it)."""
    _, pixels = picture
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=exif)
    model = load("image")
    same(predict(model, tmp_path / "photo.png"), predict(model, upright))
    same(predict(model, Image.open(tmp_path / "photo.png")), predict(model, upright))
    sideways = model.preprocess(tmp_path / "photo.png")
    assert torch.equal(sideways, model.preprocess.views(upright.transpose(Image.Transpose.ROTATE_90), model.protocol))
    assert not torch.equal(sideways, model.preprocess.views(upright, model.protocol))


def test_frames_with_their_rate(tiny_zoo):
    path = tiny_zoo / "video" / "0.mp4"
    with av.open(str(path)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    model = load("video")
    wanted = predict(model, path)
    same(predict(model, frames, rate=30), wanted)
    same(predict(model, torch.from_numpy(frames).permute(0, 3, 1, 2), rate=30), wanted)
    same(predict(model, [Image.fromarray(frame) for frame in frames], rate=30), wanted)
    with path.open("rb") as file:
        same(predict(model, file), wanted)
    with pytest.raises(MediaError, match="pass rate="):
        predict(model, frames)


def test_sound_with_its_rate(tiny_zoo):
    path = tiny_zoo / "audio" / "0.wav"
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    model = load("audio")
    wanted = predict(model, path)
    same(predict(model, samples, rate=16000), wanted)
    same(predict(model, torch.from_numpy(samples / 32768.0), rate=16000), wanted)
    same(predict(model, np.stack([samples, samples]), rate=16000), wanted)
    with path.open("rb") as file:
        same(predict(model, file), wanted)


@pytest.mark.parametrize(
    ("modality", "source", "rate", "message"),
    [
        ("image", np.zeros((4, 5, 7), np.uint8), None, r"\[height, width, 3\].*got \[4, 5, 7\]"),
        ("image", np.full((8, 8, 3), 3.0), None, "from 0 to 1, got 3 to 3"),
        ("image", np.zeros((8, 8, 3), np.int64), None, "uint8"),
        ("image", 7, None, "got builtins.int"),
        ("image", io.StringIO("text"), None, "open for reading bytes"),
        ("video", np.zeros((8, 8, 3), np.uint8), 30, r"\[frames, height, width, 3\]"),
        ("audio", np.zeros((1000, 2), np.float32), 16000, r"\[channels, samples\]"),
        ("audio", np.full(20000, np.nan, np.float32), 16000, "not finite"),
        ("audio", np.zeros(20, np.float32), 16000, "25 ms"),
        ("audio", np.zeros(20000, np.float32), 0, "pass rate="),
        ("audio", np.zeros(20000, np.complex64), 16000, "real numbers"),
    ],
)
def test_what_is_no_recording_is_refused(tiny_zoo, modality, source, rate, message):
    with pytest.raises(MediaError, match=message):
        predict(load(modality), source, rate=rate)


def test_of_a_long_sound_it_is_said_what_was_heard(tiny_zoo, caplog):
    """The model hears (64 - 1) * 10 + 25 ms at a time."""
    model = load("audio")
    sound = torch.randn(16000 * 3) * 0.1
    with caplog.at_level(logging.INFO, "tome_zoo"):
        predict(model, sound, rate=16000)
    assert "0.0 to 0.7 s of 3.0 s" in caplog.text
    found = classify(model, sound, rate=16000, protocol="audio_3x1")
    assert [span.start for span in found.spans] == pytest.approx([0, (3 - 0.655) / 2, 3 - 0.655], abs=1e-3)
    assert found.duration == 3


def test_windows_cover_a_sound_and_each_is_as_if_it_stood_alone(tiny_zoo):
    model = load("audio")
    sound = torch.randn(16000 * 3) * 0.1
    windows = list(classify_windows(model, sound, rate=16000))
    spans = [window.spans[0] for window in windows]
    assert (spans[0].start, spans[-1].end) == (0, 3)
    assert all(later.start <= earlier.end for earlier, later in itertools.pairwise(spans))
    assert {round(span.end - span.start, 4) for span in spans} == {0.655}
    for window, span in zip(windows, spans, strict=True):
        part = sound[round(span.start * 16000) : round(span.end * 16000)]
        same(window.predictions, predict(model, part, rate=16000))
    assert len(list(classify_windows(model, sound[:5000], rate=16000))) == 1


def test_windows_cover_a_video(tiny_zoo):
    """Clips of 4 frames at 30 a second: 22 frames are 5 windows and a last one that ends with the video."""
    frames = np.random.default_rng(1).integers(0, 256, (22, 32, 48, 3), dtype=np.uint8)
    model = load("video")
    windows = list(classify_windows(model, frames, rate=30))
    firsts = [round(window.spans[0].start * 30) for window in windows]
    assert firsts == [0, 4, 8, 12, 16, 18]
    same(windows[2].predictions, classify(model, frames[8:12], rate=30, protocol="video_1x1").predictions)
    with pytest.raises(MediaError, match="no windows"):
        list(classify_windows(load("image"), frames[0]))


def test_the_protocol_of_another_modality_is_refused(tiny_zoo, picture):
    with pytest.raises(DataError, match="reads image, but protocol audio_clip is for audio"):
        predict(load("image"), picture[0], protocol="audio_clip")
    with pytest.raises(TomeZooError, match="top_k"):
        predict(load("image"), picture[0], 0)


def test_a_patched_timm_model_predicts_as_timm_does(picture):
    path, _ = picture
    plain = timm.create_model(
        "vit_tiny_patch16_384", img_size=64, embed_dim=24, depth=2, num_heads=3, num_classes=6
    ).eval()
    transform = create_transform(**{**resolve_model_data_config(plain), "input_size": (3, 64, 64)})
    wanted = plain(transform(Image.open(path)).unsqueeze(0)).softmax(1)[0].detach()
    with pytest.raises(UnsupportedModelError, match=r"tome_zoo\.patch"):
        predict(plain, path)
    found = predict(tome_zoo.patch(plain, r=0), path, top_k=6)
    assert {item.label for item in found} == {f"class {index}" for index in range(6)}
    for item in found:
        assert item.probability == pytest.approx(float(wanted[item.index]), abs=1e-6)
    plain.r = 3
    assert len(predict(plain, path)) == 5
