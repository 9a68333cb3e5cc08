"""Sound files: PyAV decodes, one channel of float32 comes out."""

import logging
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import av
import numpy as np

from tome_zoo.errors import MediaError

RATES = (1000, 768_000)  # Hz, what a sound file may claim
_PROBE = 1 << 15  # bytes of a wav in which FFmpeg may look for something else than samples; it looks through 5 MB else
_STEPS = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "flt": 1, "dbl": 1}
"""Formats of samples, and their values from silence to full scale."""

_logger = logging.getLogger(__name__)


def decode(path: Path, channel: str) -> tuple[np.ndarray, int]:
    """The first sound track of a file, its channels mixed ("mean") or the first one taken ("first").

    Damaged packets are skipped, as FFmpeg does, and logged.

    Returns:
        Samples, [samples], float32, full scale is 1; and their rate in Hz.

    Raises:
        MediaError: If there is no sound track, or nothing of it can be decoded.
    """
    pieces: list[tuple[tuple[str, int], np.ndarray]] = []  # ((format, channels), samples as FFmpeg has them)
    rates: set[int] = set()  # of the frames; a container may state that of its core layer (HE-AAC)
    damaged = 0
    to_float = av.AudioResampler(format="fltp")  # for the formats that NumPy does not get
    try:
        with av.open(str(path), options={"probesize": str(_PROBE)} if _is_wav(path) else {}) as container:
            stream = next(iter(container.streams.audio), None)
            for packet in container.demux(stream) if stream is not None else ():
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    damaged += 1
                    continue
                for frame in frames:
                    known = frame.format.name.removesuffix("p") in _STEPS
                    for part in [frame] if known else to_float.resample(frame):
                        rates.add(part.sample_rate)
                        pieces.append(((part.format.name, part.layout.nb_channels), part.to_ndarray()))
    except Exception as error:  # PyAV raises nearly anything on damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            f"{path}: no sound that FFmpeg can read ({reason}); expected wav, flac, ogg, mp3 or m4a"
        ) from None
    if stream is None:
        raise MediaError(f"{path}: the file has no sound track")
    if not any(samples.size for _, samples in pieces):
        raise MediaError(f"{path}: the file holds no sound, only a header or damage; copy or download it again")
    if len(rates) > 1:
        raise MediaError(f"{path}: the sound changes its rate on the way ({sorted(rates)} Hz); convert it to one rate")
    rate = rates.pop()
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"{path}: the file claims {rate} samples a second, expected {RATES[0]} to {RATES[1]}")
    if damaged:
        _logger.info("%s: skipped %d damaged packets", path, damaged)
    runs = groupby(pieces, key=itemgetter(0))
    return np.concatenate([_one_channel(kind, [part for _, part in run], channel) for kind, run in runs]), rate


def _one_channel(kind: tuple[str, int], pieces: list[np.ndarray], channel: str) -> np.ndarray:
    """[samples], float32, of pieces of one format and number of channels; the values of FFmpeg's own conversion."""
    (name, channels), samples = kind, np.concatenate(pieces, axis=1)
    if not name.endswith("p"):  # [1, samples * channels]
        samples = samples.reshape(-1, channels).T
    name = name.removesuffix("p")
    if channel == "first":
        samples = samples[:1]
    values = samples.astype(np.float32, order="C")  # [channels, samples]
    if name == "u8":
        values -= 128
    if _STEPS[name] > 1:
        values *= np.float32(1 / _STEPS[name])
    return values[0] if len(values) == 1 else values.mean(axis=0, dtype=np.float32)


def _is_wav(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE"
