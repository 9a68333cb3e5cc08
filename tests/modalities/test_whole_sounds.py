"""A sound is whole or refused, whatever its container; tracks and sizes of samples are those that are meant."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from tome_zoo.errors import MediaError
from tome_zoo.modalities import _resample, audio
from tome_zoo.modalities._audio_decode import decode
from tome_zoo.modalities._resample import Resampler

RATE = 48000
MODEL_RATE = 16000
FRONT = {"movflags": "+faststart"}
STATING = {  # file -> codec and options; all state how long they are
    "pcm.wav": ("pcm_s16le", {}), "rf64.wav": ("pcm_s16le", {"rf64": "always"}), "float.wav": ("pcm_f32le", {}),
    "a.flac": ("flac", {}), "aac.m4a": ("aac", FRONT), "a.mov": ("aac", FRONT), "alac.m4a": ("alac", FRONT),
    "a.3gp": ("aac", FRONT),
    "a.aiff": ("pcm_s16be", {}), "a.caf": ("pcm_s16le", {}), "a.w64": ("pcm_s16le", {}), "a.au": ("pcm_s16be", {}),
    "a.mp3": ("libmp3lame", {}), "a.ogg": ("vorbis", {}), "a.opus": ("libopus", {}), "a.mka": ("flac", {}),
    "a.webm": ("libopus", {}), "a.tta": ("tta", {}), "a.wma": ("wmav2", {}), "a.avi": ("libmp3lame", {}),
    "a.flv": ("aac", {}), "a.wv": ("wavpack", {}), "a.mkv": ("aac", {}),
}  # fmt: skip
SILENT = {  # these state nothing
    "a.aac": ("aac", {}), "a.ac3": ("ac3", {}), "a.ts": ("mp2", {}), "a.mp2": ("mp2", {}), "a.mpg": ("mp2", {}),
    "bare.mp3": ("libmp3lame", {"write_xing": "0"}),
}  # fmt: skip


def noise(seconds: float, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """[channels, samples], float32."""
    rng = np.random.default_rng(0)
    return (0.2 * rng.standard_normal((channels, int(seconds * rate)))).clip(-0.9, 0.9).astype(np.float32)


def write(
    path: Path, tracks: list[np.ndarray], codec: str, options: dict[str, str] | None = None, layout: str | None = None
) -> Path:
    """Write tracks of samples [channels, samples]."""
    with av.open(str(path), "w", options=options or {}) as file:
        streams = []
        for samples in tracks:
            name = layout or {1: "mono", 2: "stereo", 8: "7.1"}[len(samples)]
            stream = file.add_stream(codec, rate=RATE, layout=name, options={"strict": "experimental"})
            if codec in ("aac", "wmav2"):
                stream.bit_rate = 96000 * len(samples)
            streams.append((stream, name))
        for samples, (stream, name) in zip(tracks, streams, strict=True):
            size = stream.codec_context.frame_size or 1024
            resampler = av.AudioResampler(format=stream.format, layout=name, rate=RATE, frame_size=size)
            packed = np.ascontiguousarray(samples.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=name)
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                file.mux(stream.encode(part))
            file.mux(stream.encode(None))
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    """The beginning of a file."""
    data = path.read_bytes()
    shorter = path.with_name(f"cut_{path.name}")
    shorter.write_bytes(data[: int(len(data) * share)])
    return shorter


@pytest.mark.parametrize("name", STATING)
def test_a_sound_is_whole_or_refused(tmp_path, name):
    path = write(tmp_path / name, [noise(4, 2)], *STATING[name])
    seconds = sum(len(block.samples) / block.rate for block in decode(path, "mean"))
    assert 3.9 < seconds < 4.3
    with pytest.raises(MediaError, match=r"of [34]\.\d\d s are there|ends in the middle|packets are there|no sound"):
        audio.read(cut(path))


def test_a_little_less_at_the_end_is_no_damage(tmp_path):
    path = write(tmp_path / "a.wav", [noise(4)], "pcm_s16le")
    assert len(audio.read(cut(path, 0.99))) > 3.95 * RATE


@pytest.mark.parametrize("name", SILENT)
def test_streams_that_state_nothing_are_read_as_far_as_they_go(tmp_path, name):
    path = write(tmp_path / name, [noise(4)], *SILENT[name])
    assert 0.5 * len(audio.read(path)) < len(audio.read(cut(path))) < 0.7 * len(audio.read(path))


@pytest.mark.parametrize("name", ["a.flac", "aac.m4a", "a.mp3", "a.ogg", "a.opus", "a.mka", "a.webm", "a.tta", "a.wma"])
def test_a_sound_overwritten_in_the_middle_is_refused(tmp_path, name):
    path = write(tmp_path / name, [noise(4, 2)], *STATING[name])
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = np.random.default_rng(1).integers(0, 256, third, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    with pytest.raises(MediaError, match=r"of \d\.\d\d s are there|no sound that"):
        audio.read(path)


def test_a_wav_that_was_streamed_is_read_to_its_end(tmp_path):
    path = write(tmp_path / "a.wav", [noise(1)], "pcm_s16le")
    data = path.read_bytes()
    at = data.index(b"data") + 4
    for size in (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        path.write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])
        assert len(audio.read(path)) == RATE


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("width", "bits"), [(2, 8), (3, 16), (4, 16), (4, 20), (4, 24), (3, 20), (3, 24), (4, 32)])
def test_samples_of_fewer_bits_than_their_bytes_have(tmp_path, width, bits, channels):
    """As soundfile reads them, which goes by the bytes."""
    values = (noise(0.5, channels).T * 2**31).astype(np.int64)
    values -= values % 2 ** (32 - bits)
    body = values.astype("<i4").tobytes()
    data = b"".join(body[i : i + 4][4 - width :] for i in range(0, len(body), 4))
    block, guid = width * channels, bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, channels, RATE, RATE * block, block, 8 * width, 22, bits, 0) + guid
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    found = torch.cat([torch.from_numpy(block.samples) for block in decode(path, "first")]).numpy()
    assert np.array_equal(found, expected[:, 0])
    path.write_bytes(path.read_bytes()[: len(data) // 2])
    with pytest.raises(MediaError, match="truncated"):
        list(decode(path, "mean"))


@pytest.mark.parametrize("name", ["eight.m4a aac", "eight.opus libopus", "eight.wv wavpack"])
def test_eight_channels(tmp_path, name):
    name, codec = name.split()
    samples = noise(1, 8)
    samples[1:] = 0
    path = write(tmp_path / name, [samples], codec)
    mixed, first = (np.concatenate([b.samples for b in decode(path, channel)]) for channel in ("mean", "first"))
    assert len(mixed) == len(first) >= RATE
    assert mixed.std() < 0.3 * first.std() if codec == "aac" else mixed.std() < first.std()
    assert np.isfinite(mixed).all()


def test_the_best_track_is_read(tmp_path):
    path = write(tmp_path / "two.ts", [noise(1) / 9, noise(1, 2)], "aac")
    with av.open(str(path)) as container:
        best = container.streams.best("audio")
        assert best.index == 1
    assert abs(float(audio.read(path).std()) - noise(1, 2).mean(axis=0).std()) < 0.02


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.wav", "ffconcat version 1.0\nfile 'a.wav'\n"),
        ("list.mp3", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.wav\n#EXT-X-ENDLIST\n"),
        ("text.sln", "Not a sound. " * 1000),
        ("text.mp3", "Not a sound. " * 1000),
        ("text.wav", "RIFF, and no more of it. " * 1000),
    ],
)
def test_texts_and_lists_are_no_sounds(tmp_path, name, content):
    write(tmp_path / "a.wav", [noise(1)], "pcm_s16le")
    (tmp_path / name).write_text(content)
    with pytest.raises(MediaError, match="no sound that FFmpeg can read"):
        audio.read(tmp_path / name)


@pytest.mark.parametrize("rate", [44100, 48000, 8000, 11025, 44099])
def test_a_sound_resampled_in_blocks_is_the_sound_resampled_at_once(monkeypatch, rate):
    samples = noise(2, rate=rate)[0]
    whole = torch.cat([*(once := Resampler(rate, MODEL_RATE)).add(samples), *once.finish()])
    monkeypatch.setattr(_resample, "_BLOCK", 5000)
    for size in (700, 9000):
        pieces = Resampler(rate, MODEL_RATE)
        found = [out for at in range(0, len(samples), size) for out in pieces.add(samples[at : at + size])]
        together = torch.cat([*found, *pieces.finish()])
        assert together.shape == whole.shape
        assert (together - whole).abs().max() < 2e-6


def test_what_is_loaded_is_what_is_read_and_seen(tmp_path, audio_spec, views_of):
    path = write(tmp_path / "a.wav", [noise(5) + 0.05], "pcm_s16le")
    for n_views in (1, 3):
        expected = audio.views(audio.read(path, audio_spec()), audio_spec(), views_of(n_views))
        assert torch.allclose(audio.load(path, audio_spec(), views_of(n_views)), expected, atol=1e-6)
