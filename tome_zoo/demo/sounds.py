"""The `sounds` data set: one to three events at once in noise; 16 kHz WAV with an AudioSet-style JSON manifest."""

import json
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

RATE = 16000  # Hz
SECONDS = 2.6
IDS = {
    "/d/chirp_up": "Rising chirp",
    "/d/chirp_down": "Falling chirp",
    "/d/tone": "Steady tone",
    "/d/beeps": "Beeps",
    "/d/tremolo": "Tremolo",
    "/d/warble": "Warble",
    "/d/buzz": "Buzz",
    "/d/chord": "Chord",
    "/d/bell": "Bell",
    "/d/siren": "Siren",
    "/d/clicks": "Clicks",
    "/d/hiss": "Hiss",
}
"""Identifier -> name of each class, in the order of their indices."""
LABELS = tuple(IDS.values())
_SAMPLES = int(RATE * SECONDS)
_MOST = 3  # events at once

Maker = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def render(rng: np.random.Generator, labels: Sequence[int]) -> np.ndarray:
    """Mix one sound.

    Args:
        rng: Source of all randomness.
        labels: Indices into `LABELS` of the events to be heard; each has its own time, pitch and level.

    Returns:
        Waveform, float32 `[samples]` within -1 to 1, `RATE` samples a second.
    """
    mix = _noise(rng, _SAMPLES, rng.uniform(0, 1)) * 10 ** rng.uniform(-2.2, -1.1)
    for label in labels:
        length = int(RATE * rng.uniform(0.8, 1.8))
        start = int(rng.integers(0, _SAMPLES - length + 1))
        event = _MAKERS[label](rng, np.arange(length) / RATE)
        fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.01 * RATE))
        level = 10 ** rng.uniform(-0.7, 0)
        mix[start : start + length] += level * event / (np.sqrt(np.mean(event**2)) + 1e-9) * fade
    return (mix / np.abs(mix).max() * rng.uniform(0.2, 0.9)).astype(np.float32)


def samples(*, count: int, seed: int) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    """Yield `count` pairs of waveform `[samples]` and indices of its classes, ascending."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        chosen = rng.choice(len(LABELS), size=rng.integers(1, _MOST + 1), replace=False)
        labels = tuple(sorted(chosen.tolist()))
        yield render(rng, labels), labels


def write(root: str | Path, *, split: str, count: int, seed: int) -> Iterator[Path]:
    """Write `count` sounds to `root/<split>/<number>.wav`, yielding each path when it is on disk; then `<split>.json`.

    The manifest is AudioSet's: `{"data": [{"wav": path relative to root, "labels": "/d/bell,/d/hiss"}, ...]}`.
    """
    root, identifiers = Path(root), tuple(IDS)
    (root / split).mkdir(parents=True, exist_ok=True)
    entries = []
    for index, (waveform, labels) in enumerate(samples(count=count, seed=seed)):
        path = root / split / f"{index:05d}.wav"
        encode(path, waveform)
        entries.append({"wav": path.relative_to(root).as_posix(), "labels": ",".join(identifiers[k] for k in labels)})
        yield path
    (root / f"{split}.json").write_text(json.dumps({"data": entries}, indent=1), encoding="utf-8")


def encode(path: str | Path, waveform: np.ndarray, *, rate: int = RATE) -> None:
    """Write a waveform, float `[samples]` within -1 to 1, as 16-bit mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(waveform * 32767).astype("<i2").tobytes())


def _pitch(rng: np.random.Generator, low: float = 250, high: float = 3000) -> float:
    """A frequency in Hz, even on a musical scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _sweep(frequency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sine whose frequency, in Hz, changes from sample to sample."""
    return np.sin(2 * np.pi * (np.cumsum(frequency) / RATE + rng.uniform()))


def _noise(rng: np.random.Generator, length: int, color: float) -> np.ndarray:
    """Noise of unit level, from white (color 0) to pink and beyond (1)."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    spectrum *= (np.arange(len(spectrum)) / len(spectrum) + 0.01) ** -color
    signal = np.fft.irfft(spectrum, length)
    return signal / signal.std()


def _chirp(rng: np.random.Generator, t: np.ndarray, direction: int) -> np.ndarray:
    octaves = direction * rng.uniform(0.6, 2)
    start = _pitch(rng) if direction > 0 else _pitch(rng, 600, 6000)
    return _sweep(start * 2 ** (octaves * t / t[-1]), rng)


def _tone(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    return _sweep(np.full(len(t), _pitch(rng, 250, 5000)), rng)


def _beeps(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    return _tone(rng, t) * ((t * rng.uniform(2.5, 5) + rng.uniform()) % 1 < rng.uniform(0.35, 0.6))


def _tremolo(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    beat = np.sin(2 * np.pi * (rng.uniform(5, 10) * t + rng.uniform()))
    return _tone(rng, t) * (1 + rng.uniform(0.6, 0.9) * beat)


def _warble(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    swing = np.sin(2 * np.pi * (rng.uniform(4, 9) * t + rng.uniform()))
    return _sweep(_pitch(rng, 400, 4000) * 2 ** (rng.uniform(0.08, 0.25) * swing), rng)


def _buzz(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    return 2 * ((t * _pitch(rng, 80, 250) + rng.uniform()) % 1) - 1


def _chord(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    root = _pitch(rng, 250, 1500)
    return sum((_sweep(np.full(len(t), root * ratio), rng) for ratio in (1, 1.26, 1.5, 2)), np.zeros(len(t)))


def _bell(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    root, decay = _pitch(rng, 300, 1500), rng.uniform(3, 8)
    partials = zip((1, 2.0, 2.76, 5.4), (1, 0.7, 0.6, 0.4), strict=True)
    strike = sum((level * _tone_at(root * ratio, t, rng) for ratio, level in partials), np.zeros(len(t)))
    return strike * np.exp(-decay * t)


def _tone_at(frequency: float, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * (frequency * t + rng.uniform()))


def _siren(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    swing = np.sin(2 * np.pi * (rng.uniform(1, 1.8) * t + rng.uniform()))
    return _sweep(_pitch(rng, 500, 2500) * 2 ** (rng.uniform(0.4, 0.8) * swing), rng)


def _clicks(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    since = (t + rng.uniform(0, 0.1)) % (1 / rng.uniform(5, 14))
    return rng.normal(size=len(t)) * np.exp(-since * rng.uniform(150, 400))


def _hiss(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A burst of noise in one band, an octave or so wide."""
    spectrum, low = np.fft.rfft(rng.normal(size=len(t))), _pitch(rng, 600, 3500)
    frequencies = np.arange(len(spectrum)) * RATE / len(t)
    spectrum[(frequencies < low) | (frequencies > low * rng.uniform(1.4, 2))] = 0
    return np.fft.irfft(spectrum, len(t))


_MAKERS: tuple[Maker, ...] = (
    lambda rng, t: _chirp(rng, t, 1),
    lambda rng, t: _chirp(rng, t, -1),
    _tone,
    _beeps,
    _tremolo,
    _warble,
    _buzz,
    _chord,
    _bell,
    _siren,
    _clicks,
    _hiss,
)
