"""The header of a WAV file, and the samples of those that FFmpeg takes for others."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange

_PCM = 1
_EXTENSIBLE = 0xFFFE
_STREAMED = range(0x7FFFF000, 0x80001000)  # what recorders write that cannot know, besides 0 and all ones
_BLOCK = 1 << 16  # samples a channel that are read at a time


@dataclass(frozen=True)
class WavHeader:
    """What the header says.

    Attributes:
        pcm: Whether the samples are whole numbers.
        channels: How many.
        rate: Samples a second.
        block: Bytes of one sample of all channels.
        bits: Bits that count, the leading ones of each sample.
        start: Where the samples begin.
        size: Bytes of samples; None where it does not say, as in a stream.
    """

    pcm: bool
    channels: int
    rate: int
    block: int
    bits: int
    start: int
    size: int | None

    @property
    def roomy(self) -> bool:
        """Whether samples have more bytes than their bits need, which FFmpeg reads as samples of fewer bytes."""
        width = self.block // max(self.channels, 1)
        exact = self.block == width * self.channels and width in (2, 3, 4)
        return self.pcm and exact and 0 < self.bits <= 8 * (width - 1)

    @property
    def seconds(self) -> float | None:
        """How long it says that it lasts."""
        return None if self.size is None or not self.block or not self.rate else self.size / self.block / self.rate


def read_header(path: Path) -> WavHeader | None:
    """The header of a WAV file (RIFF or RF64); None where a file is none, or has no samples."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
            return None
        large, form = None, b""
        while len(chunk := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                return _header(form, file.tell(), size if large is None else large)
            content = file.read(min(size, 64))
            if name == b"ds64" and len(content) >= 16:
                (large,) = struct.unpack_from("<Q", content, 8)
            elif name == b"fmt ":
                form = content
            file.seek(size + size % 2 - len(content), 1)
    return None


def _header(form: bytes, start: int, size: int) -> WavHeader | None:
    if len(form) < 16:
        return None
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        valid, _, tag = struct.unpack_from("<HIH", form, 18)
        bits = valid or bits
    unknown = size in (0, 0xFFFFFFFF, 2**64 - 1) or size in _STREAMED or 0xFFFFF000 <= size <= 0xFFFFFFFF
    return WavHeader(tag == _PCM, channels, rate, block, bits, start, None if unknown else size)


def samples(path: Path, header: WavHeader) -> Iterator[np.ndarray]:
    """Samples of a roomy file, [channels, samples] at a time, float32, full scale is 1; as soundfile reads them."""
    width = header.block // header.channels
    left = header.size if header.size is not None else path.stat().st_size
    with path.open("rb") as file:
        file.seek(header.start)
        while left > 0:
            data = file.read(min(left, _BLOCK * header.block))
            left -= len(data)
            whole = len(data) // header.block * header.block
            if not whole:
                return
            bytes_ = np.frombuffer(data[:whole], np.uint8).reshape(-1, width)
            padded = np.zeros((len(bytes_), 4), np.uint8)
            padded[:, 4 - width :] = bytes_  # the lower bytes are empty
            values = padded.view("<i4").astype(np.float32) * np.float32(2**-31)
            yield rearrange(values, "(samples channels) 1 -> channels samples", channels=header.channels)
