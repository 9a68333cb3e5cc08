"""Frames of a video file: decoded by decord where few of them are wanted, else by PyAV."""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from tome_zoo.errors import MediaError
from tome_zoo.modalities._checks import regular_file
from tome_zoo.modalities._video_index import FrameIndex, index_frames, unreadable

_logger = logging.getLogger(__name__)
_BATCH = 16  # frames that decord decodes at a time
_FEW = 6  # decord is quick at seeking, PyAV at turning frames into RGB: where more than a sixth are wanted, it wins
_FAR = 256  # frames: seek rather than decode what lies between
_MARGIN = 32  # frames: seek so much earlier, as a key frame may be stored before the frames shown ahead of it
_GAP = 4  # frames: a decoder may drop so many in a row, as it does around hidden frames


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

        By decord where few frames of a trustworthy file are wanted, else by PyAV: the frames are the same.

        Raises:
            MediaError: If they cannot be decoded, or an index is out of range.
        """
        if not indices or indices[0] < 0 or indices[-1] >= self.num_frames:
            raise MediaError(f"{self.path}: expected frame numbers 0 to {self.num_frames - 1}, got {list(indices)}")
        done = 0
        if self._use_decord and len(indices) * _FEW <= self.num_frames:
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
        raise unreadable(path, error) from None
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
