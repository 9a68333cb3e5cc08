"""Frames by PyAV: each is the one that decoding from the beginning gives."""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.stream import VideoStream

from tome_zoo.errors import MediaError
from tome_zoo.modalities._container import open_container
from tome_zoo.modalities._notes import note
from tome_zoo.modalities._upright import Upright
from tome_zoo.modalities._video_index import FrameIndex, bound_pixels, unreadable

_FAR = 256  # frames: seek rather than decode what lies between
_NEAR = 32  # frames: do not seek for fewer
_GAP = 4  # frames: a decoder may drop so many in a row, as it does around hidden frames

_logger = logging.getLogger(__name__)


def pyav_stream(path: Path, index: FrameIndex, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Decode ascending frames with PyAV, [height, width, 3], uint8.

    Where the decoder drops a frame, its predecessor stands in (at the beginning, its successor); that is logged.

    Raises:
        MediaError: If nothing can be decoded, or more than a few frames in a row are lost.
    """
    run: list[int] = []
    for frame in indices:
        if run and frame - run[-1] > _FAR:
            yield from _run(path, index, run)
            run = []
        run.append(frame)
    yield from _run(path, index, run)


def first_frame_is_plain(path: Path, index: FrameIndex) -> bool:
    """Whether the first frame is progressive, and shown as it is stored."""
    for _, frame in _decoded(path, index, 0):
        return not frame.interlaced_frame and frame.side_data.get(Type.DISPLAYMATRIX) is None
    return False


def _run(path: Path, index: FrameIndex, run: list[int]) -> Iterator[np.ndarray]:
    pending = deque(run)
    rank, frame, stand_ins, rgb = -1, None, 0, Upright()
    try:
        for next_rank, next_frame in _decoded(path, index, run[0]):
            while pending and next_rank > pending[0]:
                stand_in, at = (next_frame, next_rank) if frame is None else (frame, rank)
                _check_gap(path, pending.popleft(), at)
                stand_ins += 1
                yield rgb(stand_in)
            rank, frame = next_rank, next_frame
            if pending and rank == pending[0]:
                pending.popleft()
                yield rgb(frame)
            if not pending:
                break
    except MediaError:
        raise
    except Exception as error:
        raise unreadable(path, error) from None
    if frame is None:
        raise MediaError(f"{path}: no frame of the video can be decoded; copy or download it again")
    for wanted in pending:
        _check_gap(path, wanted, rank)
        stand_ins += 1
        yield rgb(frame)
    if stand_ins:
        note(f"{path}: {stand_ins} frames cannot be decoded, their neighbours stand in for them")


def _decoded(path: Path, index: FrameIndex, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame) from `first` or a little earlier on; damaged packets are skipped."""
    start = _start(index, first)
    with open_container(path) as container:
        stream = container.streams[index.stream]
        if not isinstance(stream, VideoStream):
            raise MediaError(f"{path}: its tracks have changed while it was read")
        stream.thread_count = 1
        bound_pixels(stream)
        if start is not None:
            with suppress(av.FFmpegError):
                container.seek(start[1], stream=stream)
        count, checked = 0, False
        for packet in container.demux(stream):
            if start is not None and not checked and packet.size:
                here = (packet.pts or 0, packet.pts if packet.dts is None else packet.dts)
                if here not in index.keys or here[0] > start[0]:
                    break  # the container went elsewhere: decode from the beginning
                start, checked = (here[0], 0), True
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError as error:
                _logger.debug("%s: skipped a damaged packet (%s)", path, error)
                continue
            for frame in frames:
                rank = count
                if index.times is not None and frame.pts is not None:
                    rank = bisect_right(index.times, frame.pts) - 1
                    if rank < 0 or (start is not None and frame.pts < start[0]):
                        continue  # it is hidden, or refers to what lies before the key frame
                count += 1
                yield rank, frame
        else:
            return
    yield from _decoded(path, replace(index, keys=()), 0)


def _start(index: FrameIndex, first: int) -> tuple[int, int] | None:
    """Times of the key frame from which to decode; None for the beginning."""
    if index.times is None or first < _NEAR:
        return None
    place = bisect_right(index.keys, (index.times[first], 1 << 62)) - 1
    return index.keys[place] if place > 0 else None


def _check_gap(path: Path, wanted: int, found: int) -> None:
    if abs(wanted - found) > _GAP:
        raise MediaError(f"{path}: damaged video, frame {wanted} cannot be decoded; copy or download it again")
