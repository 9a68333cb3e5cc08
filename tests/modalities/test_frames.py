"""Decoding of videos: the frames asked for, whatever the codec, the container and the decoder."""

import gc
import math
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tome_zoo.modalities import _video_frames, video


def turn_track(path: Path, degrees: int) -> None:
    """Write a rotation into the header of an mp4: its pictures are shown turned clockwise."""
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 44  # behind version, times, track, duration, layer and volume
    cos, sin = round(math.cos(math.radians(degrees))), round(math.sin(math.radians(degrees)))
    rotation = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *rotation)
    path.write_bytes(content)


CODECS = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {"options": {"g": "6", "bf": "3"}},
    "open.mp4": {"options": {"g": "6", "bf": "3", "x264-params": "open-gop=1:keyint=6:scenecut=0"}},
    "odd.mp4": {"size": (47, 63), "pix_fmt": "yuv444p"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "6"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "6"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "6", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "6", "bf": "2"}},
    "h264.avi": {"options": {"g": "6", "bf": "3"}},
    "mpeg2.mkv": {"codec": "mpeg2video", "options": {"g": "6", "bf": "2"}},
    "ten.mp4": {"pix_fmt": "yuv420p10le"},
    "vfr.mp4": {"times": lambda number: number * 40 + number % 3 * 7},
    "one.mp4": {"frames": 1},
}


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("name", CODECS)
def test_frames_are_those_asked_for(write_video, every_frame, name):
    path = write_video(name, **({"frames": 40} | CODECS[name]))
    expected = every_frame(path)
    rng = np.random.default_rng(0)
    for _ in range(6):
        reader = video.read(path)
        assert reader.num_frames == len(expected)
        wanted = rng.integers(0, len(expected), 5).tolist()
        found = reader.frames(wanted)
        assert found.dtype == torch.uint8
        assert np.array_equal(found.numpy(), expected[wanted])


ENCODERS = {
    "h264": {"codec": "libx264", "options": {"g": "8", "bf": "0"}},
    "vp9": {"codec": "libvpx-vp9", "options": {"g": "8", "lag-in-frames": "0"}},
    "mpeg4": {"codec": "mpeg4", "options": {"g": "8", "bf": "0"}},
}
B_FRAMES = {
    "h264": {"g": "12", "bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0"},
    "vp9": {"g": "12", "lag-in-frames": "12", "auto-alt-ref": "1"},  # its like: frames stored ahead, never shown
    "mpeg4": {"g": "12", "bf": "2"},
}
TRAITS = ("plain", "variable rate", "b-frames", "b-frames, variable rate", "rotated", "one frame", "odd size")


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("codec", ENCODERS)
def test_sampled_frames_agree_with_pyav(write_video, every_frame, video_spec, views_of, decoder, codec, trait):
    settings = {"frames": 31, **ENCODERS[codec]}
    if trait == "one frame":
        settings["frames"] = 1
    if trait == "odd size":
        settings |= {"size": (35, 53), "pix_fmt": "yuv444p" if codec == "h264" else "yuv420p"}
    if trait == "rotated":
        settings["size"] = (64, 96)  # decord fails on quarter turns of other sizes, and PyAV goes on
    if "b-frames" in trait:
        settings["options"] = B_FRAMES[codec]
    if "variable rate" in trait:
        settings |= {"rate": 1000, "times": lambda number: number * 40 + (0, 13, 2, 29)[number % 4]}
    path = write_video("a.mp4", **settings)
    expected = every_frame(path)
    if trait == "rotated":
        turn_track(path, 90)
        expected = np.rot90(expected, -1, axes=(1, 2))
    assert len({picture.tobytes() for picture in expected}) == len(expected) == settings["frames"]
    if "b-frames" in trait and codec != "vp9":
        with av.open(str(path)) as container:
            assert av.video.frame.PictureType.B in {frame.pict_type for frame in container.decode(video=0)}

    reader = video.read(path)
    assert reader.num_frames == len(expected)
    assert (len(set(np.diff(reader._index.times))) > 1) == ("variable rate" in trait)
    spec = video_spec(num_frames=4, sampling_rate=2)
    for protocol in (views_of(3), views_of(2, sampling="strided")):
        for clip in video.clips(reader.num_frames, reader.fps, 4, spec.input, protocol):
            assert np.array_equal(reader.frames(clip).numpy(), expected[clip])
    assert np.array_equal(video.read(path).frames(range(len(expected))).numpy(), expected)
    trusted = trait not in ("odd size", "rotated") and codec != "mpeg4"
    assert (reader.decoder == "decord") == (decoder == "decord" and trusted)


def test_the_decoder_is_the_quicker_one(write_video, every_frame):
    pytest.importorskip("decord")
    small, large = write_video("small.mp4", 30), write_video("large.mp4", 30, size=(400, 640))
    many, few = [3, 4, 5, 6, 7, 20], [3, 20]
    for path, wanted, by_decord in ((large, many, False), (large, few, True), (small, many, True), (small, few, True)):
        expected = every_frame(path)
        reader = video.read(path)
        assert np.array_equal(reader.frames(wanted).numpy(), expected[wanted])
        assert (reader.decoder == "decord") == by_decord


def test_pyav_goes_on_where_decord_fails(write_video, every_frame, monkeypatch):
    path = write_video(frames=40)
    expected = every_frame(path)

    class Failing:
        def __init__(self, *args, **kwargs):
            self.calls = 0

        def __len__(self):
            return 40

        def get_batch(self, indices):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("no")
            return torch.from_numpy(expected[indices])  # as under decord's bridge to torch

    monkeypatch.setattr(_video_frames, "_decord_module", lambda: type("Decord", (), {"VideoReader": Failing}))
    monkeypatch.setattr(_video_frames, "_FEW", 0)
    assert np.array_equal(video.read(path).frames(range(40)).numpy(), expected)


def test_a_reader_without_decord_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    assert _video_frames._decord_module.__wrapped__() is None


@pytest.mark.usefixtures("decoder")
def test_far_frames_are_sought(write_video, every_frame):
    path = write_video(frames=700, size=(16, 16), options={"g": "50"})
    expected = every_frame(path)
    wanted = [3, 300, 302, 698, 699]
    assert np.array_equal(video.read(path).frames(wanted).numpy(), expected[wanted])


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_pictures_are_turned_upright(write_video, every_frame, turn):
    path = write_video(frames=5)
    expected = every_frame(path)
    turn_track(path, turn)
    found = video.read(path).frames([0, 4]).numpy()
    assert np.array_equal(found, np.rot90(expected[[0, 4]], -turn // 90, axes=(1, 2)))


def test_frames_that_an_edit_list_hides_do_not_count(write_video, every_frame, tmp_path):
    whole = write_video(frames=40, options={"g": "40"})
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts -= 10 * 512
                packet.dts -= 10 * 512
                packet.stream = stream
                file.mux(packet)
    expected = every_frame(whole)[10:]
    reader = video.read(path)
    assert reader.num_frames == 30
    assert np.array_equal(reader.frames(range(30)).numpy(), expected)


def test_rate_and_count(write_video):
    reader = video.read(write_video(frames=33, rate=12))
    assert (reader.num_frames, reader.fps) == (33, 12.0)
    assert video.read(write_video("a.avi", 20, codec="mjpeg", pix_fmt="yuvj420p", rate=8)).fps == 8.0


def test_frames_are_let_go(write_video, monkeypatch):
    """Without a garbage collection, which frames in a cycle would wait for."""
    monkeypatch.setenv(_video_frames.VARIABLE, "pyav")
    path = write_video(frames=60)
    turn_track(path, 90)
    gc.collect()
    gc.disable()
    try:
        for _ in video.read(path).stream(range(60)):
            assert sum(type(item) is av.VideoFrame for item in gc.get_objects()) < 8
    finally:
        gc.enable()
