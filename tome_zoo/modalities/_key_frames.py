"""Whether a packet begins anew, whatever its container says: decoding may start there and nowhere else.

Containers flag pictures as key frames that are none: all of them, or those at which intra-refresh begins.
"""

from collections.abc import Callable, Iterator
from typing import Any


def key_test(codec_context: Any) -> Callable[[bytes], bool] | None:
    """A test of a packet's bytes; None where nothing is known of the codec: decoding has to start at the beginning."""
    name = codec_context.codec.canonical_name
    if codec_context.codec.intra_only:
        return lambda data: True
    extradata = codec_context.extradata or b""
    if name == "h264":
        width = (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 4 else None
        return lambda data: _h264(data, width)
    if name == "hevc":
        width = (extradata[21] & 3) + 1 if len(extradata) > 22 and extradata[:3] != b"\x00\x00\x00" else None
        return lambda data: _hevc(data, width)
    return {"vp8": _vp8, "vp9": _vp9, "av1": _av1}.get(name)


def _h264(data: bytes, width: int | None) -> bool:
    kinds = [unit[0] & 31 for unit in _units(data, width) if unit]
    return 5 in kinds and 1 not in kinds  # instantaneous refresh, and no other slices


def _hevc(data: bytes, width: int | None) -> bool:
    slices = [kind for unit in _units(data, width) if unit and (kind := unit[0] >> 1 & 63) < 32]
    return bool(slices) and all(16 <= kind <= 21 for kind in slices)


def _vp8(data: bytes) -> bool:
    return bool(data) and not data[0] & 1


def _vp9(data: bytes) -> bool:
    bits = f"{int.from_bytes(data[:2], 'big'):016b}"
    reserved = bits[2:4] == "11"  # profile 3 has a bit more
    shown, kind = bits[4 + reserved], bits[5 + reserved]
    return bits[:2] == "10" and shown == "0" and kind == "0"


def _av1(data: bytes) -> bool:
    """Whether the first frame of a temporal unit is a key frame that is shown."""
    at = 0
    while at < len(data):
        header = data[at]
        kind, extended, sized = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        at += 1 + extended
        size, shift = len(data) - at, 0
        if sized:
            size = 0
            while at < len(data):
                byte = data[at]
                size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
                if not byte & 128:
                    break
        if kind in (3, 6) and at < len(data):  # a frame, or its header
            return data[at] & 0b1111_0000 == 0b0001_0000  # not a repetition, a key frame, shown
        at += size
    return False


def _units(data: bytes, width: int | None) -> Iterator[bytes]:
    """The first bytes of the units of a packet: behind their lengths of `width` bytes, or behind start codes."""
    if width is None:
        at = data.find(b"\x00\x00\x01")
        while at >= 0:
            yield data[at + 3 : at + 5]
            at = data.find(b"\x00\x00\x01", at + 3)
        return
    at = 0
    while at + width < len(data):
        size = int.from_bytes(data[at : at + width], "big")
        yield data[at + width : at + width + 2]
        at += width + size
