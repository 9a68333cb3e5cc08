"""Videos as people have them: cut without re-encoding, mirrored, of a variable rate, and files that are none."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tome_zoo.errors import MediaError, TomeZooError
from tome_zoo.modalities import _video_frames, audio, video
from tome_zoo.modalities._upright import upright

ONE = 1 << 16  # 1 in a display matrix


def copied(path: Path, target: Path, first: int = 0) -> Path:
    """The packets of a video from one of them on, without re-encoding."""
    with av.open(str(path)) as source, av.open(str(target), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number >= first:
                packet.stream = stream
                file.mux(packet)
    return target


@pytest.mark.parametrize("container", ["ts", "mkv", "mp4"])
def test_a_stream_cut_without_re_encoding_begins_at_its_first_picture(write_video, tmp_path, every_frame, container):
    whole = write_video(frames=60, options={"bf": "2", "x264-params": "keyint=20:scenecut=0"})
    path = copied(whole, tmp_path / f"cut.{container}", first=7)
    reader = video.read(path)
    assert reader.num_frames == 40
    expected = every_frame(whole)
    last = reader.num_frames - 1
    for index in (0, 5, last):
        assert np.array_equal(reader.frames([index])[0].numpy(), expected[60 - reader.num_frames + index])


def test_the_rate_is_that_of_the_times(write_video):
    path = write_video(frames=20, rate=1000, times=lambda number: number * 145)
    assert abs(video.read(path).fps - 1000 / 145) < 0.05
    assert video.read(write_video("b.mp4", frames=20, rate=30)).fps == 30


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((ONE, 0, 0, ONE), lambda x: x),
        ((-ONE, 0, 0, ONE), lambda x: x[:, ::-1]),
        ((ONE, 0, 0, -ONE), lambda x: x[::-1]),
        ((-ONE, 0, 0, -ONE), lambda x: x[::-1, ::-1]),
        ((0, ONE, -ONE, 0), lambda x: np.rot90(x, -1)),
        ((0, -ONE, ONE, 0), lambda x: np.rot90(x)),
        ((0, ONE, ONE, 0), lambda x: x.swapaxes(0, 1)),
        ((0, -ONE, -ONE, 0), lambda x: np.rot90(x, -1)[::-1]),
    ],
)
def test_pictures_are_turned_and_mirrored(write_video, every_frame, matrix, expected):
    """A pixel at (x, y) is shown at (a x + c y, b x + d y), moved into the picture."""
    a, b, c, d = matrix
    path = write_video(frames=2, size=(32, 48))
    first = every_frame(path)[0]
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    found = video.read(path).frames([0])[0].numpy()
    assert np.array_equal(found, expected(first))
    corner = np.zeros((4, 6, 3), np.uint8)
    corner[0, 0] = 1  # goes where the matrix says
    shown = upright(corner, (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    row, column = (int(i) for i in np.argwhere(shown[..., 0])[0])
    assert (row > 0, column > 0) == (b + d < 0, a + c < 0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mp3", "a.webm", "list.avi"])
def test_pictures_texts_and_lists_are_no_videos(tmp_path, write_video, name):
    write_video("good.mp4", 3)
    path = tmp_path / name
    if name == "a.mp4":
        with av.open(str(path), "w", format="image2", options={"update": "1"}) as file:
            stream = file.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
            file.mux(stream.encode(av.VideoFrame(32, 32, "yuvj420p")))
    elif name == "a.mp3":
        with av.open(str(path), "w") as file:
            sound, cover = file.add_stream("libmp3lame", rate=16000), file.add_stream("png", rate=1)
            cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
            cover.disposition = av.stream.Disposition.attached_pic
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            sound.layout = "mono"
            resampler = av.AudioResampler(format=sound.format, layout="mono", rate=16000, frame_size=576)
            for packet in cover.encode(av.VideoFrame(32, 32, "rgb24")):
                file.mux(packet)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                file.mux(sound.encode(part))
            file.mux([*sound.encode(None), *cover.encode(None)])
        assert len(audio.read(path)) > 16000
    elif name == "a.webm":
        path.write_text("Not a video. " * 1000)
    else:
        path.write_text("ffconcat version 1.0\nfile good.mp4\n")
    with pytest.raises(MediaError, match="no video"):
        video.read(path)


@pytest.mark.parametrize("name", ["a:b.mp4", "file:a.mp4", "[1] %d *.mp4", "-a.mp4", "http:", b"caf\xe9.mp4"])
def test_a_path_is_the_name_of_a_file(write_video, tmp_path, name, monkeypatch, decoder):
    path = write_video(frames=12)
    other = tmp_path / os.fsdecode(name)
    path.rename(other)
    monkeypatch.chdir(tmp_path)
    for place in (other, Path(other.name)):
        assert video.read(place).frames([0, 11]).shape == (2, 48, 64, 3)


def test_which_decoder_is_a_choice(write_video, monkeypatch):
    pytest.importorskip("decord")
    path = write_video(frames=12)
    for choice, wanted in (("pyav", "pyav"), ("decord", "decord")):
        monkeypatch.setenv(_video_frames.VARIABLE, choice)
        reader = video.read(path)
        reader.frames(range(12))
        assert reader.decoder == wanted
    monkeypatch.setenv(_video_frames.VARIABLE, "vlc")
    with pytest.raises(TomeZooError, match="one of auto, decord, pyav; got 'vlc'"):
        video.read(path)


def test_a_clock_that_counts_from_1970_is_read(write_video, tmp_path, every_frame):
    whole = write_video(frames=20)
    path = tmp_path / "late.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                shift = int(Fraction(1_700_000_000) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                file.mux(packet)
    found = video.read(path).frames([0, 19]).numpy()
    assert np.array_equal(found, every_frame(whole)[[0, 19]])
