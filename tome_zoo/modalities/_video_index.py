"""What a video file holds: its frames in order of presentation, read from the container without decoding."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av

from tome_zoo.errors import MediaError
from tome_zoo.modalities._container import best_stream, open_container, reason_of
from tome_zoo.modalities._key_frames import key_test
from tome_zoo.modalities._stated_length import check_container

_MAX_FPS = 1000  # above, the container states its clock rather than a frame rate
_SAME_RATE = 0.02  # a stated rate that is further from the mean of the times is not theirs
_SLACK = 0.5  # s: a container may announce so much more than the frames last
_LATE = 3600  # s: a clock that starts later, or before 0, is no ordinary one
MOST_PIXELS = 8192 * 4352  # of a frame, 8K; damage makes larger ones, at gigabytes each
_MODEST = 1920 * 1088  # pixels of a frame; decord holds several


@dataclass(frozen=True)
class FrameIndex:
    """What a container says of its video: presentation times in order, and the mean rate.

    Attributes:
        stream: Which track.
        num_frames: Frames in order of presentation.
        times: Presentation time of each, in units of the stream; None where the container gives none (AVI).
        keys: (presentation, decoding) time of the frames at which decoding may begin; none where it is not known.
        time_base: Seconds of a unit of the stream.
        fps: Frames a second; None where nothing tells.
        pixels: Of a frame.
        for_decord: Whether decord can be trusted: mp4 or webm of one video track, progressive, 8 bits, even sides and
            of modest size, an ordinary clock, nothing hidden, and key frames that are some and close what is before.
            Elsewhere it returns other frames than asked for, rounds them otherwise, or ends the process.
    """

    stream: int
    num_frames: int
    times: tuple[int, ...] | None
    keys: tuple[tuple[int, int], ...]
    time_base: float
    fps: float | None
    pixels: int
    for_decord: bool


class _Packet(NamedTuple):
    time: int | None  # of presentation
    stored: int | None  # of decoding
    flagged: bool  # as a key frame
    true: bool  # a key frame


class _Start(NamedTuple):
    """Where a video begins: cleanly, with a key frame that is shown first? And when its first key frame is shown."""

    clean: bool
    key: int | None


def index_frames(path: Path) -> FrameIndex:
    """Read a container's table of frames, without decoding. Of several video tracks the one that players take counts.

    Raises:
        MediaError: If it is no video, or truncated.
    """
    try:
        with open_container(path) as container:
            stream = best_stream(container, "video")
            if stream is None:
                raise MediaError(f"{path}: the file has no video track; should it have one, copy or download it again")
            if stream.codec_context is None:
                raise MediaError(f"{path}: the video is coded in a way that FFmpeg does not know; convert it to H.264")
            if stream.width * stream.height > MOST_PIXELS:
                raise MediaError(
                    f"{path}: a video of {stream.width} x {stream.height} pixels; scale it to 8192 x 4352 at most"
                )
            check_container(path, container, stream)
            packets, stored, end, start = _packets(container, stream)
            if not packets:
                raise MediaError(f"{path}: the video has no frames; copy or download it again")
            name, announced = container.format.name, (container.duration or 0) / av.time_base
            _check_whole(path, stream, name, stored, announced, end)
            if not start.clean:
                packets = _from_first_picture(path, stream.index, packets, start)
            return _index(container, stream, packets, stored)
    except MediaError:
        raise
    except Exception as error:  # PyAV raises nearly anything on damaged files
        raise unreadable(path, error) from None


def _packets(container: Any, stream: Any) -> tuple[list[_Packet], int, float, _Start]:
    """Packets in order of storage; how many there are with those that an edit list hides; when the last one ends, s."""
    is_key = key_test(stream.codec_context)
    packets, stored, end = [], 0, 0
    clean, first = True, None
    keys: dict[bool, int | None] = {}  # time of the first flagged one, false or true
    for packet in container.demux(stream):
        if packet.size and not stored:
            clean, first = packet.is_keyframe, packet.pts
        clean = clean and (first is None or packet.pts is None or packet.pts >= first)
        true = is_key is not None and packet.is_keyframe and is_key(bytes(packet))
        if packet.is_keyframe:
            keys.setdefault(true, packet.pts)
        stored += packet.size > 0
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        if packet.size and not packet.is_discard:
            packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, true))
    start = _Start(clean, keys.get(True, keys.get(False)))
    return packets, stored, float(end * stream.time_base) if stream.time_base else 0.0, start


def _check_whole(path: Path, stream: Any, name: str, stored: int, announced: float, end: float) -> None:
    declared = stream.frames
    if name == "avi" and stream.time_base:
        stored = max(stored, round(end / stream.time_base))  # frames that repeat the one before have empty packets
    if declared - stored > max(1, declared // 100):
        if name.startswith("mov"):  # an edit list may hide whole groups of pictures, and their packets
            with open_container(path, {"ignore_editlist": "1"}) as container:
                stored = sum(packet.size > 0 for packet in container.demux(container.streams[stream.index]))
        if declared - stored > max(1, declared // 100):
            raise MediaError(
                f"{path}: truncated video, {stored} of {declared} frames are there; copy or download it again"
            )
    if not declared and name.startswith(("mov", "matroska", "flv")):  # others make up how long they are
        _check_length(path, announced, end)


def _from_first_picture(path: Path, stream: int, packets: list[_Packet], start: _Start) -> list[_Packet]:
    """The packets from the first picture on that can be decoded: a video may be cut where it cannot begin.

    That is the first key frame, or with intra-refresh what the decoder gives first; it gives wrong pictures before.
    """
    with open_container(path) as container:
        bound_pixels(container.streams[stream])
        for packet in container.demux(container.streams[stream]):
            with suppress(av.FFmpegError):
                frames: list[Any] = packet.decode()
                for frame in frames:
                    if frame.pts is None:
                        return packets
                    first = frame.pts if start.key is None else max(start.key, frame.pts)
                    return [packet for packet in packets if packet.time is None or packet.time >= first]
    return packets


def _index(container: Any, stream: Any, packets: list[_Packet], stored: int) -> FrameIndex:
    name, codec, time_base = container.format.name, stream.codec_context, stream.time_base
    # AVI has no presentation times; what FFmpeg makes up for it is the order of storage.
    known = () if name == "avi" else sorted(packet.time for packet in packets if packet.time is not None)
    times = tuple(known) if len(set(known)) == len(packets) else None
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate and rate <= _MAX_FPS else None
    if times is not None and len(times) > 1 and time_base:
        span, steps = times[-1] - times[0], len(times) - 1
        mean = steps / float(span * time_base)
        rounded = fps is not None and abs(span - steps / (fps * float(time_base))) <= 2  # by a coarse clock
        fps = mean if fps is None or (abs(mean - fps) > _SAME_RATE * fps and not rounded) else fps
    keys: list[tuple[int, int]] = []
    if times is not None and name.startswith(("mov", "matroska")):  # elsewhere a seek is a guess
        true = [packet for packet in packets if packet.true]
        keys = sorted((p.time, p.time if p.stored is None else p.stored) for p in true if p.time is not None)
    tracks = sum(other.type == "video" for other in container.streams)
    shape, pixels = codec.format, codec.width * codec.height
    for_decord = (
        bool(keys)
        and tracks == 1
        and stored == len(packets)
        and all(packet.true for packet in packets if packet.flagged)
        and times is not None
        and all(times[place] == packet.time for place, packet in enumerate(packets) if packet.flagged)
        and 0 <= times[0] * time_base < _LATE
        and shape is not None
        and all(component.bits <= 8 for component in shape.components)
        and codec.width % 2 == codec.height % 2 == 0
        and pixels <= _MODEST
    )
    return FrameIndex(stream.index, len(packets), times, tuple(keys), float(time_base or 0), fps, pixels, for_decord)


def bound_pixels(stream: Any) -> None:
    """Have a decoder refuse frames that only damage makes so large."""
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}


def _check_length(path: Path, announced: float, end: float) -> None:
    """Refuse a file that ends before the time it announces, in s; other tracks may well last longer than its video.

    Raises:
        MediaError: If it does.
    """
    slack = max(_SLACK, announced / 100)
    if announced - end <= slack:
        return
    with suppress(av.FFmpegError), open_container(path) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if announced - end > slack:
        raise MediaError(
            f"{path}: truncated video, it ends after {end:.1f} of {announced:.1f} s; copy or download it again"
        )


def unreadable(path: Path, error: Exception) -> MediaError:
    """The error for a file of which FFmpeg makes nothing."""
    return MediaError(
        f"{path}: no video that FFmpeg can read ({reason_of(error)}); expected mp4, webm, mkv, mov or avi"
    )
