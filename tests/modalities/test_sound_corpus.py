"""Every sample is the one that soundfile gives: container x coding x channels x rate, written by soundfile itself.

A sample of it runs always, all of it with `-m slow`.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tome_zoo.modalities._audio_decode import decode

SECONDS = 1.3
LOSSLESS = {  # container of soundfile -> ending, codings
    "WAV": ("wav", ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    "WAVEX": ("wav", ("PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    "RF64": ("wav", ("PCM_16", "PCM_24", "FLOAT")),
    "AIFF": ("aiff", ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    "AU": ("au", ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW")),
    "CAF": ("caf", ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW")),
    "W64": ("w64", ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    "FLAC": ("flac", ("PCM_S8", "PCM_16", "PCM_24")),
}
LOSSY = {  # largest difference of two decoders of one stream
    ("OGG", "VORBIS"): ("ogg", 1e-5), ("OGG", "OPUS"): ("opus", 1e-3), ("MP3", "MPEG_LAYER_III"): ("mp3", 2e-4),
}  # fmt: skip
CHANNELS = (1, 2, 6)
RATES = (8000, 16000, 22050, 44100, 48000, 96000)
LOSSLESS_CASES = [
    (container, coding, channels, rate)
    for container, (_, codings) in LOSSLESS.items()
    for coding, channels, rate in itertools.product(codings, CHANNELS, RATES)
]
LOSSY_CASES = [
    (container, coding, channels, rate)
    for (container, coding), channels, rate in itertools.product(LOSSY, (1, 2), RATES)
    if rate == 48000
    or (coding != "OPUS" and rate < 48000)  # Opus has one rate; soundfile gives the one it was written at
]
slow = pytest.mark.slow


def write(path: Path, container: str, coding: str, channels: int, rate: int) -> Path:
    """Noise that fades, below full scale."""
    rng = np.random.default_rng(channels * rate)
    samples = (
        0.25 * rng.standard_normal((int(SECONDS * rate), channels)) * np.linspace(1, 0.1, int(SECONDS * rate))[:, None]
    )
    soundfile.write(path, samples.clip(-0.95, 0.95), rate, format=container, subtype=coding)
    return path


def decoded(path: Path, channel: str) -> np.ndarray:
    return np.concatenate([block.samples for block in decode(path, channel)])


def sampled(cases: list, every: int) -> list:
    """All cases, of which most are slow."""
    return [case if number % every == 0 else pytest.param(*case, marks=slow) for number, case in enumerate(cases)]


@pytest.mark.parametrize(("container", "coding", "channels", "rate"), sampled(LOSSLESS_CASES, 31))
def test_samples_are_soundfiles(tmp_path, container, coding, channels, rate):
    path = write(tmp_path / f"a.{LOSSLESS[container][0]}", container, coding, channels, rate)
    expected, its_rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert its_rate == rate == next(decode(path, "first")).rate
    assert np.array_equal(decoded(path, "first"), expected[:, 0])
    assert np.array_equal(decoded(path, "mean"), expected.T.mean(axis=0, dtype=np.float32))
    print(f"{len(expected)} samples compared, {container} {coding} {channels} {rate}")


@pytest.mark.parametrize(("container", "coding", "channels", "rate"), sampled(LOSSY_CASES, 7))
def test_samples_of_lossy_codings_are_soundfiles_but_for_rounding(tmp_path, container, coding, channels, rate):
    ending, tolerance = LOSSY[container, coding]
    path = write(tmp_path / f"a.{ending}", container, coding, channels, rate)
    expected, its_rate = soundfile.read(path, dtype="float32", always_2d=True)
    found = decoded(path, "first")
    assert next(decode(path, "first")).rate == its_rate
    assert len(found) == len(expected)
    assert np.abs(found - expected[:, 0]).max() < tolerance
    print(f"{len(expected)} samples compared, {container} {coding} {channels} {rate}")
