"""What a video file holds: its frames in order of presentation, read from the container without decoding."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av

from tome_zoo.errors import MediaError

_MAX_FPS = 1000  # above, the container states its clock rather than a frame rate
_SLACK = 0.5  # s: a container may announce so much more than the frames last


@dataclass(frozen=True)
class FrameIndex:
    """What a container says of its video: presentation times in order, and the mean rate.

    Attributes:
        num_frames: Frames in order of presentation.
        times: Presentation time of each, in units of the stream; None where the container gives none (AVI).
        fps: Frames a second; None where nothing tells.
        for_decord: Whether decord can be trusted: mp4 or webm, key frames behind all frames shown before them, 8 bits,
            even sides. Elsewhere it returns other frames than asked for, or rounds them otherwise.
    """

    num_frames: int
    times: tuple[int, ...] | None
    fps: float | None
    for_decord: bool


def index_frames(path: Path) -> FrameIndex:
    """Read a container's table of frames, without decoding. Only its first video track counts.

    Raises:
        MediaError: If it is no video, or truncated.
    """
    packets: list[tuple[int | None, bool]] = []  # (presentation time, whether a key frame), in order of storage
    stored, end = 0, 0  # packets, with those that an edit list hides; when the last one ends
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.video), None)
            if stream is not None:
                for packet in container.demux(stream):
                    stored += packet.size > 0
                    end = max(end, (packet.pts or 0) + (packet.duration or 0))
                    if packet.size and not packet.is_discard:
                        packets.append((packet.pts, packet.is_keyframe))
                declared, time_base = stream.frames, stream.time_base
                rate = stream.average_rate or stream.guessed_rate
                codec = stream.codec_context
                shape = codec.format if codec is not None else None
                even = codec is not None and codec.width % 2 == codec.height % 2 == 0
            name, announced = container.format.name, (container.duration or 0) / av.time_base
    except Exception as error:  # PyAV raises nearly anything on damaged files
        raise unreadable(path, error) from None
    if stream is None:
        raise MediaError(f"{path}: the file has no video track; should it have one, copy or download it again")
    if codec is None:
        raise MediaError(f"{path}: the video is coded in a way that FFmpeg does not know; convert it to H.264")
    if not packets:
        raise MediaError(f"{path}: the video has no frames; copy or download it again")
    if declared - stored > max(1, declared // 100):
        raise MediaError(f"{path}: truncated video, {stored} of {declared} frames are there; copy or download it again")
    if not declared and time_base and name.startswith(("mov", "matroska", "flv")):  # others make up how long they are
        _check_length(path, announced, float(end * time_base))
    # AVI has no presentation times; what FFmpeg makes up for it is the order of storage.
    known = () if name == "avi" else sorted(time for time, _ in packets if time is not None)
    times = tuple(known) if len(set(known)) == len(packets) else None
    fps = float(rate) if rate and rate <= _MAX_FPS else None
    if fps is None and times is not None and len(times) > 1 and time_base:
        fps = (len(times) - 1) / float((times[-1] - times[0]) * time_base)
    keys = [(place, time) for place, (time, key) in enumerate(packets) if key]
    closed = times is not None and all(times[place] == time for place, time in keys)
    eight_bits = shape is not None and all(component.bits <= 8 for component in shape.components)
    return FrameIndex(len(packets), times, fps, closed and eight_bits and even and name.startswith(("mov", "matroska")))


def _check_length(path: Path, announced: float, end: float) -> None:
    """Refuse a file that ends before the time it announces, in s; other tracks may well last longer than its video.

    Raises:
        MediaError: If it does.
    """
    slack = max(_SLACK, announced / 100)
    if announced - end <= slack:
        return
    with suppress(av.FFmpegError), av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if announced - end > slack:
        raise MediaError(
            f"{path}: truncated video, it ends after {end:.1f} of {announced:.1f} s; copy or download it again"
        )


def unreadable(path: Path, error: Exception) -> MediaError:
    """The error for a file of which FFmpeg makes nothing."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MediaError(f"{path}: no video that FFmpeg can read ({reason}); expected mp4, webm, mkv, mov or avi")
