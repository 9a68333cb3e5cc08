"""Sound files: PyAV decodes, one channel of float32 comes out, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from einops import rearrange

from tome_zoo.errors import MediaError
from tome_zoo.modalities import _wav
from tome_zoo.modalities._container import best_stream, open_container, reason_of
from tome_zoo.modalities._notes import note
from tome_zoo.modalities._stated_length import check_container, check_length, check_packets, stated_seconds

RATES = (1000, 768_000)  # Hz, what a sound file may claim
_PROBE = 1 << 15  # bytes of a wav in which FFmpeg may look for something else than samples; it looks through 5 MB else
_PLANES = 8  # channels from which PyAV looks for planes beyond the last one
_LOUDEST = 2.0**31  # of floats, whose full scale is 1: whole numbers that were written as such are smaller
_BLOCK = 1 << 16  # samples that are mixed at a time
_STEPS = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "flt": 1, "dbl": 1}
"""Formats of samples, and their values from silence to full scale."""


@dataclass(frozen=True)
class Block:
    """A stretch of a sound: samples, [samples], float32, full scale is 1; and their rate in Hz."""

    samples: np.ndarray
    rate: int


def decode(path: Path, channel: str) -> Iterator[Block]:
    """The best sound track of a file, its channels mixed ("mean") or the first one taken ("first").

    Damaged packets are skipped, as FFmpeg does, and logged.

    Raises:
        MediaError: If there is no sound track, nothing of it can be decoded, or less than the container states.
    """
    rate, count = 0, 0
    for block in _blocks(path, channel):
        if not len(block.samples):
            continue
        if rate and block.rate != rate:
            raise MediaError(
                f"{path}: the sound changes its rate on the way ({rate} and {block.rate} Hz); convert it to one rate"
            )
        rate, count = block.rate, count + len(block.samples)
        if not RATES[0] <= rate <= RATES[1]:
            raise MediaError(f"{path}: the file claims {rate} samples a second, expected {RATES[0]} to {RATES[1]}")
        if not -_LOUDEST <= block.samples.min() <= block.samples.max() <= _LOUDEST:
            raise MediaError(
                f"{path}: the sound has samples that are not finite numbers, or far beyond full scale; convert it again"
            )
        yield block
    if not count:
        raise MediaError(f"{path}: the file holds no sound, only a header or damage; copy or download it again")


def _blocks(path: Path, channel: str) -> Iterator[Block]:
    header = _wav.read_header(path)
    if header is not None and header.roomy and RATES[0] <= header.rate <= RATES[1]:
        count = 0
        for samples in _wav.samples(path, header):
            count += samples.shape[1]
            yield Block(_one_channel(samples, channel), header.rate)
        check_length(path, header.seconds, count / header.rate)
        return
    try:
        yield from _decoded(path, channel, {"probesize": str(_PROBE)} if header is not None else {})
    except MediaError:
        raise
    except Exception as error:  # PyAV raises nearly anything on damaged files
        raise MediaError(
            f"{path}: no sound that FFmpeg can read ({reason_of(error)}); expected wav, flac, ogg, mp3 or m4a"
        ) from None


def _decoded(path: Path, channel: str, options: dict[str, str]) -> Iterator[Block]:
    damaged, packets, count, rate = 0, 0, 0, 1
    mixer = _Mixer(channel)
    with open_container(path, options) as container:
        stream = best_stream(container, "audio")
        if stream is None:
            raise MediaError(f"{path}: the file has no sound track")
        check_container(path, container, stream)
        stated = stated_seconds(path, container, stream)
        listed = stream.frames if container.format.name == "avi" else 0
        for packet in container.demux(stream):
            packets += packet.size > 0
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                planes = len(frame.planes)
                if planes < (frame.layout.nb_channels if frame.format.is_planar else 1):
                    damaged += 1  # it claims channels that are not there
                    continue
                count, rate = count + frame.samples, frame.sample_rate
                yield from mixer.add(frame)
        yield from mixer.flush()
    if damaged:
        note(f"{path}: skipped {damaged} damaged packets")
    check_packets(path, listed, packets, "sound")
    if count:
        check_length(path, stated, count / max(rate, 1))


class _Mixer:
    """Gathers frames of one kind, and makes one channel of many of them at once."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._kind: tuple[str, int, int] = ("", 0, 0)  # format, channels, rate
        self._parts: list[np.ndarray] = []
        self._length = 0
        self._packers: dict[tuple[str, str, int], av.AudioResampler] = {}

    def add(self, frame: av.AudioFrame) -> Iterator[Block]:
        """Take a frame; give what is complete."""
        planar, known = frame.format.is_planar, frame.format.name.removesuffix("p") in _STEPS
        parts = [frame]
        if not known or (planar and frame.layout.nb_channels >= _PLANES):
            key = (frame.format.name, frame.layout.name, frame.sample_rate)
            if key not in self._packers:
                self._packers[key] = av.AudioResampler(format="flt")
            parts = self._packers[key].resample(frame)
        for part in parts:
            kind = (part.format.name, part.layout.nb_channels, part.sample_rate)
            if kind != self._kind or self._length >= _BLOCK:
                yield from self.flush()
            self._kind, self._length = kind, self._length + part.samples
            self._parts.append(part.to_ndarray())

    def flush(self) -> Iterator[Block]:
        """What has been gathered, as one channel with the values of FFmpeg's own conversion."""
        if not self._parts:
            return
        (name, channels, rate), samples = self._kind, np.concatenate(self._parts, axis=1)
        self._parts, self._length = [], 0
        if not name.endswith("p"):
            samples = rearrange(samples, "1 (samples channels) -> channels samples", channels=channels)
        name = name.removesuffix("p")
        values = samples[: 1 if self._channel == "first" else None].astype(np.float32, order="C")
        if name == "u8":
            values -= 128
        if _STEPS[name] > 1:
            values *= np.float32(1 / _STEPS[name])
        yield Block(_one_channel(values, self._channel), rate)


def _one_channel(values: np.ndarray, channel: str) -> np.ndarray:
    """[channels, samples] -> [samples]."""
    if len(values) == 1 or channel == "first":
        return values[0]
    with np.errstate(over="ignore", invalid="ignore"):  # floats of damaged files, which are refused
        return values.mean(axis=0, dtype=np.float32)
