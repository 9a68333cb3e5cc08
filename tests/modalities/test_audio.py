"""Decoding and features of sounds."""

import contextlib
import math
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import torchaudio.functional

from tome_zoo import modalities
from tome_zoo.errors import CardError, MediaError
from tome_zoo.modalities import audio


def tone(seconds: float, rate: int, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def test_it_is_the_modality_called_audio():
    assert modalities.get("audio") is audio


@pytest.mark.parametrize("name", ["short", "exact", "long"])
def test_features_are_those_of_audiomae(golden, audio_spec, views_of, name):
    vectors = golden("audiomae")
    waveform = vectors[f"fbank.{name}.waveform"].float() / 32768
    views = audio.views(waveform, audio_spec((1024, 128)), views_of())
    assert views.shape == (1, 1, 1024, 128)
    assert views.dtype == torch.float32
    assert views.is_contiguous()
    torch.testing.assert_close(views[0, 0], vectors[f"fbank.{name}.features"].float(), rtol=1e-3, atol=1e-3)


def test_features_agree_with_a_slow_filter_bank(audio_spec, views_of):
    rng = np.random.default_rng(0)
    x = rng.normal(size=16000 // 5) * 0.1
    found = audio.views(torch.from_numpy(x), audio_spec((16, 32)), views_of())[0, 0]
    x = x - x.mean()
    mel = lambda f: 1127 * math.log(1 + f / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(8000), 34)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    for frame in range(16):
        part = x[frame * 160 : frame * 160 + 400]
        part = part - part.mean()
        part = np.append(part[0] * 0.03, part[1:] - 0.97 * part[:-1]) * window
        power = np.abs(np.fft.rfft(part, 512)) ** 2
        for band in range(32):
            low, centre, high = edges[band : band + 3]
            energy = 0.0
            for bin in range(256):
                at = mel(bin * 16000 / 512)
                energy += power[bin] * max(0.0, min((at - low) / (centre - low), (high - at) / (high - centre)))
            expected = (math.log(max(energy, 1.1920929e-07)) + 4.2677393) / (2 * 4.5689974)
            assert found[frame, band].item() == pytest.approx(expected, abs=2e-3)


def test_padding_is_normalised_like_sound_of_value_zero(audio_spec, views_of):
    spec = audio_spec((96, 32))
    views = audio.views(torch.from_numpy(tone(0.5, 16000)).float(), spec, views_of())
    n_frames = 1 + (8000 - 400) // 160
    assert torch.all(views[0, 0, n_frames:] == 4.2677393 / (2 * 4.5689974))
    assert not torch.any(views[0, 0, :n_frames] == 4.2677393 / (2 * 4.5689974))


def test_temporal_views_are_spread_over_the_sound(audio_spec, views_of):
    spec = audio_spec((96, 32))
    length = 400 + 95 * 160
    waveform = torch.randn(50_000)
    found = audio.views(waveform, spec, views_of(4))
    assert found.shape == (4, 1, 96, 32)
    assert audio.crop_starts(50_000, length, 4) == [0, 11467, 22933, 34400]
    assert audio.crop_starts(50_000, length, 1) == [0]
    assert audio.crop_starts(100, length, 3) == [0, 0, 0]
    assert torch.equal(found[0], audio.views(waveform, spec, views_of())[0])
    centred = waveform - waveform.mean()
    last = audio.views(centred[-length:] + 0, spec, views_of())[0]
    torch.testing.assert_close(found[3], last, rtol=0, atol=1e-2)


FILES = {
    "u8.wav": ("pcm_u8", "u8p", 1 / 100),
    "s16.wav": ("pcm_s16le", "s16p", 1e-4),
    "s24.wav": ("pcm_s24le", "s32p", 1e-6),
    "s32.wav": ("pcm_s32le", "s32p", 1e-6),
    "f32.wav": ("pcm_f32le", "fltp", 1e-6),
    "f64.wav": ("pcm_f64le", "dblp", 1e-6),
    "s16.flac": ("flac", "s16p", 1e-4),
    "opus.ogg": ("libopus", "fltp", 0.05),
    "mp3.mp3": ("libmp3lame", "fltp", 0.05),
    "aac.m4a": ("aac", "fltp", 0.05),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats(write_sound, audio_spec, name, channels):
    codec, format, tolerance = FILES[name]
    rate = 48000 if codec == "libopus" else 16000
    samples = np.stack([tone(1, rate, 440 * (1 + channel)) for channel in range(channels)])
    path = write_sound(name, samples, rate, codec=codec, format=format)
    found = audio.read(path, audio_spec(sample_rate=rate))
    assert found.dtype == torch.float32
    assert found.ndim == 1
    assert abs(len(found) - rate) <= 2400
    expected = samples.mean(axis=0)
    middle = slice(rate // 4, rate // 2)
    assert np.abs(found.numpy()[middle] - expected[middle]).max() < tolerance


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(("wav", "flac", "mp3"))])
@pytest.mark.parametrize("channel", ["mean", "first"])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_those_of_ffmpegs_conversion(write_sound, audio_spec, name, channel, channels):
    codec, format, _ = FILES[name]
    path = write_sound(name, np.random.default_rng(0).normal(0, 0.2, (channels, 5000)), codec=codec, format=format)
    resampler, parts = av.AudioResampler(format="fltp"), []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray() for part in resampler.resample(frame)]
    expected = np.concatenate(parts, axis=1)
    expected = (expected[0] + expected[-1]) / 2 if channel == "mean" else expected[0]
    assert expected.dtype == np.float32
    assert np.array_equal(audio.read(path, audio_spec(channel=channel)).numpy(), expected)


def test_samples_of_64_bits(write_sound, audio_spec, tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as file:
        stream = file.add_stream("pcm_s64le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 500), 8192, dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        for part in av.AudioResampler(format="s64", layout="mono", rate=16000).resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    assert audio.read(tmp_path / "a.wav", audio_spec()).tolist() == [0.25] * 500


def test_notes_ahead_of_the_samples_of_a_wav(write_sound, audio_spec):
    path = write_sound("a.wav", tone(0.1, 16000))
    expected, content = audio.read(path, audio_spec()), path.read_bytes()
    notes = b"LIST" + (200_000).to_bytes(4, "little") + b"INFO" + bytes(199_996)
    path.write_bytes(content[:36] + notes + content[36:])
    assert torch.equal(audio.read(path, audio_spec()), expected)


def test_channels_may_change_on_the_way_but_not_the_rate(write_sound, audio_spec):
    mono, stereo, fast = (
        write_sound(f"{number}.mp3", [tone(0.5, rate)] * channels, rate, codec="libmp3lame", format="fltp")
        for number, (rate, channels) in enumerate([(16000, 1), (16000, 2), (24000, 1)])
    )
    both = mono.with_name("both.mp3")
    both.write_bytes(mono.read_bytes() + stereo.read_bytes())
    found = audio.read(both, audio_spec()).numpy()
    assert len(found) > 15000
    assert np.abs(np.abs(np.fft.rfft(found[12000:14000])).argmax() * 8 - 440) < 8
    both.write_bytes(mono.read_bytes() + fast.read_bytes())
    with pytest.raises(MediaError, match=r"both\.mp3: the sound changes its rate on the way \(16000 and 24000 Hz\)"):
        audio.read(both, audio_spec())


@pytest.mark.parametrize("rate", [8000, 44100, 44099, 48000])
def test_resampling_is_torchaudios(write_sound, audio_spec, rate):
    path = write_sound(
        "a.wav", np.random.default_rng(0).normal(0, 0.2, rate // 10), rate, codec="pcm_f32le", format="fltp"
    )
    ratio = Fraction(rate, 16000).limit_denominator(2000)
    whole = audio.read(path, audio_spec(sample_rate=rate))
    expected = torchaudio.functional.resample(whole, ratio.numerator, ratio.denominator)
    for _ in range(2):  # its kernel is made once
        assert torch.equal(audio.read(path, audio_spec()), expected)


def test_vorbis(write_sound, audio_spec):
    path = write_sound("a.ogg", [tone(1, 16000, 440), tone(1, 16000, 880)], codec="vorbis", format="fltp")
    found = audio.read(path, audio_spec()).numpy()
    assert abs(len(found) - 16000) <= 2400
    spectrum = np.abs(np.fft.rfft(found[4000:12000] * np.hanning(8000)))
    assert min(spectrum[220], spectrum[440]) > 50 * np.median(spectrum)  # 2 Hz a bin; FFmpeg's encoder is a rough one


def test_channels_are_mixed_or_the_first_is_taken(write_sound, audio_spec):
    left, right = tone(0.2, 16000, 440), tone(0.2, 16000, 1000)
    path = write_sound("a.wav", [left, right])
    mixed, first = (audio.read(path, audio_spec(channel=channel)).numpy() for channel in ("mean", "first"))
    assert np.abs(mixed - (left + right) / 2).max() < 1e-4
    assert np.abs(first - left).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 44099, 96000])
def test_sounds_are_resampled_to_the_cards_rate(write_sound, audio_spec, rate):
    path = write_sound("a.wav", [tone(0.5, rate), tone(0.5, rate)], rate)
    found = audio.read(path, audio_spec()).numpy()
    assert abs(len(found) - 8000) <= 1
    assert np.abs(found[1000:7000] - tone(0.5, 16000)[1000:7000]).max() < 2e-3


def test_eight_kilohertz_stereo_reaches_the_model(write_sound, audio_spec, views_of):
    path = write_sound("a.wav", [tone(1, 8000), tone(1, 8000, 600)], 8000)
    views = audio.views(audio.read(path, audio_spec()), audio_spec(), views_of())
    assert views.shape == (1, 1, 96, 32)
    assert views.isfinite().all()


def test_silence_gives_finite_features(write_sound, audio_spec, views_of):
    views = audio.views(audio.read(write_sound("a.wav", np.zeros(16000)), audio_spec()), audio_spec(), views_of())
    assert views.isfinite().all()


def test_the_sound_track_of_a_video_is_read(write_sound, audio_spec):
    found = audio.read(write_sound("a.mp4", tone(1, 16000), codec="aac", format="fltp"), audio_spec())
    assert np.abs(found.numpy()[4000:8000] - tone(1, 16000)[4000:8000]).max() < 0.05


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_sounds_of_ten_milliseconds_are_refused(write_sound, audio_spec, rate):
    path = write_sound("short.wav", tone(0.01, rate), rate)
    with pytest.raises(MediaError, match=r"short\.wav: the sound lasts 10\.0 ms, expected at least 25 ms"):
        audio.read(path, audio_spec())


def test_one_analysis_window_is_enough(write_sound, audio_spec, views_of):
    waveform = audio.read(write_sound("a.wav", tone(0.025, 16000)), audio_spec())
    assert len(waveform) == 400
    assert audio.views(waveform, audio_spec(), views_of(3)).shape == (3, 1, 96, 32)
    with pytest.raises(MediaError, match="at least 25 ms"):
        audio.views(waveform[:399], audio_spec(), views_of())


def test_a_header_without_sound_is_refused(tmp_path, audio_spec):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
    with pytest.raises(MediaError, match=r"a\.wav: .*(no sound|only a header)"):
        audio.read(tmp_path / "a.wav", audio_spec())


def test_no_sounds_are_refused(tmp_path, write_video, audio_spec, capfd):
    (tmp_path / "text.wav").write_text("no sound at all\n" * 100)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    write_video("silent.mp4", 3)
    cases = {"text.wav": "FFmpeg", "empty.wav": "empty", "folder.wav": "folder", "none.wav": "no such file"}
    for name, message in (cases | {"silent.mp4": "no sound track"}).items():
        with pytest.raises(MediaError, match=message) as caught:
            audio.read(tmp_path / name, audio_spec())
        assert name in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_samples_that_are_no_numbers_are_refused(write_sound, audio_spec, value):
    samples = tone(0.1, 16000)
    samples[100] = value
    with pytest.raises(MediaError, match="not finite"):
        audio.read(write_sound("a.wav", samples, codec="pcm_f32le", format="fltp"), audio_spec())


def test_an_absurd_rate_is_refused(write_sound, audio_spec):
    path = write_sound("a.wav", tone(0.1, 16000), 16000)
    content = bytearray(path.read_bytes())
    for rate in (2, 3_000_000_000):
        content[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"a\.wav"):
            audio.read(path, audio_spec())


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_damage_never_raises_anything_else(write_sound, audio_spec, name):
    codec, format = {"wav": ("pcm_s16le", "s16p"), "flac": ("flac", "s16p"), "mp3": ("libmp3lame", "fltp"),
                     "ogg": ("vorbis", "fltp")}[name[2:]]  # fmt: skip
    path = write_sound(name, [tone(0.5, 16000), tone(0.5, 16000)], codec=codec, format=format)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for turn in range(10):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 10):
            content[place] ^= 0x5A
        path.write_bytes(content[: len(whole) // 2] if turn % 2 else content)
        with contextlib.suppress(MediaError):
            assert audio.read(path, audio_spec()).isfinite().all()


def test_other_views_and_shapes_are_refused(audio_spec, image_spec, views_of):
    waveform = torch.zeros(16000)
    with pytest.raises(CardError, match="spatial_views must be 1"):
        audio.views(waveform, audio_spec(), views_of(1, 3))
    with pytest.raises(CardError, match="AudioInput"):
        audio.views(waveform, image_spec(), views_of())
    with pytest.raises(MediaError, match=r"shape \[samples\], got \[1, 16000\]"):
        audio.views(waveform[None], audio_spec(), views_of())


def test_the_token_grid_is_that_of_the_patch_embedding(audio_spec):
    spec = audio_spec((1024, 128))
    assert audio.token_grid(spec) == (1, 64, 8)
    embed = audio.embed_layer(spec.architecture)(img_size=(1024, 128), patch_size=16, in_chans=1, embed_dim=8)
    assert embed.num_patches == 512
    overlapping = spec.architecture.model_copy(update={"patch_stride": 10})
    embed = audio.embed_layer(overlapping)(img_size=(1024, 128), patch_size=16, in_chans=1, embed_dim=8)
    assert embed.grid_size == overlapping.grid[1:] == (101, 12)
