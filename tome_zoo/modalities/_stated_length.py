"""How long a sound file says that it is, where its container states it; streams state nothing."""

import os
import struct
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from tome_zoo.errors import MediaError
from tome_zoo.modalities import _wav

_TABLES = ("mov", "flac", "tta", "wv", "ape", "mpc", "tak", "shn", "ogg", "asf", "wavarc", "dsf")
"""Formats of which FFmpeg reads a track's length from a table or header; elsewhere it is estimated from the size."""
_WHOLE = ("matroska", "flv", "nut")
"""Formats that state how long the longest track is."""
_LEAST = 0.1  # s: what coders add at the ends is shorter


def stated_seconds(path: Path, container: InputContainer, stream: Any) -> float | None:
    """Seconds that a sound track should last; None where nothing says so."""
    name = container.format.name
    if name == "wav":
        header = _wav.read_header(path)
        return None if header is None else header.seconds
    rate = stream.codec_context.sample_rate
    if name in ("aiff", "caf") and stream.frames and rate and stream.codec_context.name.startswith(("pcm", "alac")):
        return stream.frames / rate
    if name in ("w64", "au") and rate:
        return _stated_bytes(path, name, stream)
    if name in ("mp3", "mp2"):
        return _mp3_seconds(path)
    if name.startswith(_TABLES) and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = all(other is stream or other.type not in ("audio", "video") for other in container.streams)
    if name.startswith(_WHOLE) and alone and container.duration:
        return container.duration / av.time_base
    return None


def check_length(path: Path, stated: float | None, found: float) -> None:
    """Refuse a sound of which less is there than its container states.

    Raises:
        MediaError: If more than a hundredth (at least 0.1 s, at most 1 s) is missing.
    """
    if stated is not None and stated - found > max(_LEAST, min(1.0, stated / 100)):
        raise MediaError(
            f"{path}: truncated or damaged sound, {found:.2f} of {stated:.2f} s are there; copy or download it again"
        )


def check_container(path: Path, container: InputContainer, stream: Any) -> None:
    """Refuse a file that is shorter than its container says in bytes or packets.

    Raises:
        MediaError: If it is cut.
    """
    name = container.format.name
    cut = (name == "ogg" and _half_a_page(path)) or (name == "asf" and _asf_size(path) > path.stat().st_size)
    if cut:
        raise MediaError(f"{path}: truncated file, it ends in the middle; copy or download it again")


def check_packets(path: Path, stated: int, found: int, kind: str) -> None:
    """Refuse a file whose table lists more packets than there are.

    Raises:
        MediaError: If more than one, or a hundredth, are missing.
    """
    if stated - found > max(1, stated // 100):
        raise MediaError(f"{path}: truncated {kind}, {found} of {stated} packets are there; copy or download it again")


def _stated_bytes(path: Path, name: str, stream: Any) -> float | None:
    """Of uncompressed samples in W64 and AU files."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    size = None
    if name == "au" and len(head) >= 12:
        (size,) = struct.unpack_from(">I", head, 8)
        size = None if size == 0xFFFFFFFF else size
    elif name == "w64":
        at = 40  # behind the two identifiers of the file and its size
        while at + 24 <= len(head):
            (length,) = struct.unpack_from("<Q", head, at + 16)
            if head[at : at + 4] == b"data":
                size = length - 24
                break
            at += max(24, -(-length // 8) * 8)
    per_second = (stream.codec_context.bit_rate or 0) / 8
    return size / per_second if size and per_second else None


def _mp3_seconds(path: Path) -> float | None:
    """By the number of frames that a Xing, LAME or VBRI header states."""
    with path.open("rb") as file:
        head = file.read(10)
        start = 0
        if head[:3] == b"ID3" and len(head) == 10:
            start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(start)
        data = file.read(4096)
    at = next((i for i in range(len(data) - 4) if data[i] == 0xFF and data[i + 1] & 0xE0 == 0xE0), None)
    if at is None:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    rates = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}.get(version, ())
    index = data[at + 2] >> 2 & 3
    if layer != 1 or index >= len(rates):
        return None
    frame, count = data[at : at + 512], None
    for tag, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        place = frame.find(tag)
        if place > 0 and place + offset + 4 <= len(frame) and (tag == b"VBRI" or frame[place + 7] & 1):
            (count,) = struct.unpack_from(">I", frame, place + offset)
            break
    if not count:
        return None
    return max(0.0, count - 3) * (1152 if version == 3 else 576) / rates[index]  # what coders add does not count


def _half_a_page(path: Path) -> bool:
    """Whether the last page of an Ogg file is longer than what is there."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        file.seek(max(0, size - 70_000))  # the longest page has 65,307 bytes
        data = file.read()
    at = data.rfind(b"OggS")
    if at < 0 or at + 27 > len(data):
        return at >= 0
    segments = data[at + 27 : at + 27 + data[at + 26]]
    return at + 27 + data[at + 26] + sum(segments) > len(data)


def _asf_size(path: Path) -> int:
    """Bytes that an ASF (WMA, WMV) file says it has; 0 where it does not say, as in a broadcast."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    at = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if at < 0 or at + 92 > len(head):
        return 0
    (size,) = struct.unpack_from("<Q", head, at + 40)
    (flags,) = struct.unpack_from("<I", head, at + 88)
    return 0 if flags & 1 else size
