"""Video files: an index of frames by PyAV, pixels by decord, or by PyAV where decord is missing or fails."""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from tome_zoo.errors import MediaError
from tome_zoo.modalities._checks import regular_file

_logger = logging.getLogger(__name__)
_BATCH = 16  # frames that decord decodes at a time
_FAR = 256  # frames: seek rather than decode what lies between
_MARGIN = 32  # frames: seek so much earlier, as a key frame may be stored before the frames shown ahead of it
_MAX_FPS = 1000  # above, the container states its clock rather than a frame rate
_GAP = 4  # frames: a decoder may drop so many in a row, as it does around hidden frames


@dataclass(frozen=True)
class FrameIndex:
    """What a container says of its video: presentation times in order, and the mean rate.

    Attributes:
        num_frames: Frames in order of presentation.
        times: Presentation time of each, in units of the stream; None where the container gives none (AVI).
        fps: Frames a second; None where nothing tells.
        for_decord: Whether decord can be trusted: mp4 or webm, key frames behind all frames shown before them, 8 bits.
            Elsewhere it returns other frames than asked for, or rounds them otherwise.
    """

    num_frames: int
    times: tuple[int, ...] | None
    fps: float | None
    for_decord: bool


class Video:
    """A video file of which single frames can be decoded.

    Attributes:
        path: The file.
        num_frames: Frames in it, in order of presentation.
        fps: Mean frames a second; None where the file does not tell.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = regular_file(path, "a video")
        self._index = index_frames(self.path)
        self._decord: Any = None
        self._use_decord = self._index.for_decord and _decord_module() is not None

    @property
    def num_frames(self) -> int:
        """Frames in the file."""
        return self._index.num_frames

    @property
    def fps(self) -> float | None:
        """Mean frames a second; None where the file does not tell."""
        return self._index.fps

    def frames(self, indices: Sequence[int]) -> Tensor:
        """Decode frames, in the order asked for; repeated indices are decoded once.

        Returns:
            [frames, height, width, 3], uint8, RGB, turned upright where the file says how.

        Raises:
            MediaError: If they cannot be decoded, or an index is out of range.
        """
        wanted = sorted(set(indices))
        place = {index: position for position, index in enumerate(wanted)}
        decoded = list(self.stream(wanted))
        if len({picture.shape for picture in decoded}) > 1:
            raise MediaError(f"{self.path}: the picture changes its size on the way; convert the video to one size")
        pictures = torch.from_numpy(np.stack(decoded))
        return pictures[[place[index] for index in indices]] if list(indices) != wanted else pictures

    def stream(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Decode frames one by one, [height, width, 3], uint8; `indices` must ascend.

        Raises:
            MediaError: If they cannot be decoded, or an index is out of range.
        """
        if not indices or indices[0] < 0 or indices[-1] >= self.num_frames:
            raise MediaError(f"{self.path}: expected frame numbers 0 to {self.num_frames - 1}, got {list(indices)}")
        done = 0
        if self._use_decord:
            try:
                for picture in self._decord_stream(indices):
                    yield picture
                    done += 1
                return
            except Exception as error:  # whatever decord makes of the file, PyAV has a try
                _logger.debug("%s: decord failed (%s), PyAV goes on", self.path, error)
                self._use_decord, self._decord = False, None
        yield from pyav_stream(self.path, self._index, indices[done:])

    def _decord_stream(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        if self._decord is None:
            self._decord = _decord_module().VideoReader(str(self.path), num_threads=1, fault_tol=1e-9)
            if len(self._decord) != self.num_frames:
                raise ValueError(f"decord counts {len(self._decord)} frames, PyAV {self.num_frames}")
        for start in range(0, len(indices), _BATCH):
            batch = self._decord.get_batch(list(indices[start : start + _BATCH]))
            # Another user of decord in this process may have set a bridge: then this is that library's tensor.
            yield from batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)


@cache
def _decord_module() -> Any:
    """decord, told to be quiet; None where it has no wheel or does not load."""
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        _logger.debug("decord is not available (%s), PyAV decodes", error)
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def index_frames(path: Path) -> FrameIndex:
    """Read a container's table of frames, without decoding. Only its first video track counts.

    Raises:
        MediaError: If it is no video, or truncated.
    """
    packets: list[tuple[int | None, bool]] = []  # (presentation time, whether a key frame), in order of storage
    stored = 0  # packets, with those that an edit list hides
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.video), None)
            if stream is not None:
                for packet in container.demux(stream):
                    stored += packet.size > 0
                    if packet.size and not packet.is_discard:
                        packets.append((packet.pts, packet.is_keyframe))
                declared, time_base = stream.frames, stream.time_base
                rate = stream.average_rate or stream.guessed_rate
                codec = stream.codec_context
                shape = codec.format if codec is not None else None
            name = container.format.name
    except Exception as error:  # PyAV raises nearly anything on damaged files
        raise _unreadable(path, error) from None
    if stream is None:
        raise MediaError(f"{path}: the file has no video track")
    if codec is None:
        raise MediaError(f"{path}: the video is coded in a way that FFmpeg does not know; convert it to H.264")
    if not packets:
        raise MediaError(f"{path}: the video has no frames; copy or download it again")
    if declared - stored > max(1, declared // 100):
        raise MediaError(f"{path}: truncated video, {stored} of {declared} frames are there; copy or download it again")
    # AVI has no presentation times; what FFmpeg makes up for it is the order of storage.
    known = () if name == "avi" else sorted(time for time, _ in packets if time is not None)
    times = tuple(known) if len(set(known)) == len(packets) else None
    fps = float(rate) if rate and rate <= _MAX_FPS else None
    if fps is None and times is not None and len(times) > 1 and time_base:
        fps = (len(times) - 1) / float((times[-1] - times[0]) * time_base)
    keys = [(place, time) for place, (time, key) in enumerate(packets) if key]
    closed = times is not None and all(times[place] == time for place, time in keys)
    eight_bits = shape is not None and all(component.bits <= 8 for component in shape.components)
    return FrameIndex(len(packets), times, fps, closed and eight_bits and name.startswith(("mov", "matroska")))


def pyav_stream(path: Path, index: FrameIndex, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Decode ascending frames with PyAV, [height, width, 3], uint8.

    Where the decoder drops a frame, its predecessor stands in (at the beginning, its successor).

    Raises:
        MediaError: If nothing can be decoded, or more than a few frames in a row are lost.
    """
    run: list[int] = []
    for frame in indices:
        if run and frame - run[-1] > _FAR:
            yield from _pyav_run(path, index, run)
            run = []
        run.append(frame)
    yield from _pyav_run(path, index, run)


def _pyav_run(path: Path, index: FrameIndex, run: list[int]) -> Iterator[np.ndarray]:
    pending = deque(run)
    rank, frame = -1, None
    try:
        for next_rank, next_frame in _decoded(path, index, run[0]):
            while pending and next_rank > pending[0]:
                stand_in, at = (next_frame, next_rank) if frame is None else (frame, rank)
                _check_gap(path, pending[0], at)
                yield _rgb(stand_in)
                pending.popleft()
            rank, frame = next_rank, next_frame
            if pending and rank == pending[0]:
                yield _rgb(frame)
                pending.popleft()
            if not pending:
                return
    except MediaError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None
    if frame is None:
        raise MediaError(f"{path}: no frame of the video can be decoded; copy or download it again")
    for wanted in pending:
        _check_gap(path, wanted, rank)
        yield _rgb(frame)


def _decoded(path: Path, index: FrameIndex, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame) from `first` or a little earlier on; damaged packets are skipped."""
    seek = index.times is not None and first > _MARGIN
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        if seek and index.times is not None:
            container.seek(index.times[first - _MARGIN], stream=stream)
        count = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                _logger.debug("%s: skipped a damaged packet (%s)", path, error)
                continue
            for frame in frames:
                rank = count
                if index.times is not None and frame.pts is not None:
                    rank = max(bisect_right(index.times, frame.pts) - 1, 0)
                if seek and count == 0 and rank > first:
                    break  # the container sought too far: decode from the beginning
                count += 1
                yield rank, frame
            else:
                continue
            break
        else:
            return
    yield from _decoded(path, replace(index, times=None), 0)


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    """[height, width, 3], uint8, upright."""
    turns = round(frame.rotation / 90) % 4  # counter-clockwise quarter turns
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _check_gap(path: Path, wanted: int, found: int) -> None:
    if abs(wanted - found) > _GAP:
        raise MediaError(f"{path}: damaged video, frame {wanted} cannot be decoded; copy or download it again")


def _unreadable(path: Path, error: Exception) -> MediaError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MediaError(f"{path}: no video that FFmpeg can read ({reason}); expected mp4, webm, mkv, mov or avi")
