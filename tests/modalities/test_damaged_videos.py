"""Videos that are damaged, cut short, very short, or no videos at all."""

import av
import numpy as np
import pytest
import torch

from tome_zoo.errors import MediaError
from tome_zoo.modalities import video


def test_frames_out_of_range_are_refused(write_video):
    reader = video.read(write_video(frames=5))
    for wanted in ([5], [-1], []):
        with pytest.raises(MediaError, match="0 to 4"):
            reader.frames(wanted)


def test_no_videos_are_refused(tmp_path, write_sound, capfd):
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    write_sound("sound.mp4", np.zeros(16000), codec="aac", format="fltp")
    cases = {
        "text": "FFmpeg",
        "empty": "empty",
        "folder": "folder",
        "missing": "no such file",
        "sound": "no video track",
    }
    for name, message in cases.items():
        with pytest.raises(MediaError, match=message) as caught:
            video.read(tmp_path / f"{name}.mp4")
        assert f"{name}.mp4" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damage_inside_a_video_never_raises_anything_else(write_video, capfd):
    path = write_video(frames=60, options={"g": "10"}, container={"movflags": "faststart"})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(12):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 20):
            content[place] ^= 0x5A
        path.write_bytes(content)
        try:
            reader = video.read(path)
            assert reader.frames([0, reader.num_frames - 1]).dtype == torch.uint8
        except MediaError:
            pass
    assert capfd.readouterr().out == ""


def test_a_video_of_one_frame_works(write_video, video_spec, views_of):
    views = video.views(video.read(write_video(frames=1)), video_spec(), views_of(10, 3))
    assert views.shape == (30, 3, 8, 32, 32)
    assert torch.equal(views[:, :, :1].expand_as(views), views)
    assert views.isfinite().all()


WHOLE = {
    "h264.mp4": {},
    "h264.mkv": {"options": {"g": "6", "bf": "3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "6"}},
    "mpeg4.mp4": {"codec": "mpeg4", "container": {"movflags": "faststart"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
}


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("name", WHOLE)
def test_videos_cut_in_the_middle_are_refused(write_video, name, capfd):
    path = write_video(name, 60, **WHOLE[name])
    whole = path.read_bytes()
    for part in (0.5, 0.6, 0.75):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(MediaError, match=rf"{name}: (truncated video|no video|the file has no video)"):
            video.read(path).frames([0, 59])
    path.write_bytes(b"")
    with pytest.raises(MediaError, match=f"{name}: expected a video, got an empty file"):
        video.read(path)
    assert capfd.readouterr() == ("", "")


def test_a_longer_sound_track_is_no_truncation(write_video, tmp_path):
    silent, path = write_video("silent.mkv", 10), tmp_path / "a.mkv"
    with av.open(str(silent)) as source, av.open(str(path), "w") as file:
        picture = file.add_stream_from_template(source.streams.video[0])
        sound = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = picture
                file.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 24000), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    with av.open(str(path)) as container:
        assert container.duration > 2_900_000  # of the sound; the video lasts 0.4 s
    assert video.read(path).num_frames == 10
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(MediaError, match=r"a\.mkv: truncated video, it ends after [\d.]+ of 3\.0 s"):
        video.read(path)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("sampling", ["clip", "strided"])
@pytest.mark.parametrize("frames", [1, 2, 13])
def test_a_video_shorter_than_a_clip_repeats_its_last_frame(
    write_video, every_frame, video_spec, views_of, frames, sampling
):
    path = write_video(frames=frames, size=(32, 32), rate=30)
    views = video.views(video.read(path), video_spec(32, 8, sampling_rate=4), views_of(3, 1, sampling))
    assert views.shape == (3, 3, 8, 32, 32)
    expected = torch.from_numpy(every_frame(path)).permute(3, 0, 1, 2) / 255
    expected = (torch.nn.functional.interpolate(expected, (36, 36), mode="bilinear")[..., 2:34, 2:34] - 0.45) / 0.225
    shown = [min(4 * place, frames - 1) for place in range(8)]
    if sampling == "strided":  # the last of the strided frames, not of the file
        shown = [min(number, 4 * ((frames - 1) // 4)) for number in shown]
    for view in views:
        torch.testing.assert_close(view, expected[:, shown], rtol=0, atol=1e-5)
