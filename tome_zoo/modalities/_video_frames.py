"""Frames of a video file: decoded by decord where it can be trusted with it and is the quicker one, else by PyAV."""

import logging
import math
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tome_zoo.errors import MediaError, TomeZooError
from tome_zoo.modalities._checks import regular_file
from tome_zoo.modalities._pyav_frames import first_frame_is_plain, pyav_stream
from tome_zoo.modalities._video_index import index_frames

_logger = logging.getLogger(__name__)
_BATCH = 16  # frames that decord decodes at a time
# decord is quick at seeking, PyAV at turning large frames into RGB; it wins where over a sixth of those are wanted.
_FEW = 6
_SMALL = 640 * 360  # pixels
DECODERS = ("auto", "decord", "pyav")
VARIABLE = "TOME_ZOO_VIDEO_DECODER"


class Video:
    """A video file of which single frames can be decoded.

    Attributes:
        path: The file.
        num_frames: Frames in it, in order of presentation.
        fps: Mean frames a second; None where the file does not tell.
        decoder: What decoded the frames that were asked for last, "decord" or "pyav"; empty before.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = regular_file(path, "a video")
        self._index = index_frames(self.path)
        self.decoder = ""
        self._decord: Any = None
        self._choice = video_decoder()
        self._use_decord = self._choice != "pyav" and self._index.for_decord and _decord_module() is not None

    @property
    def num_frames(self) -> int:
        """Frames in the file."""
        return self._index.num_frames

    @property
    def fps(self) -> float | None:
        """Mean frames a second; None where the file does not tell."""
        return self._index.fps

    def frame_at(self, seconds: float) -> int:
        """The first frame that is shown at that time or later, from the first one on; their number where none is."""
        index = self._index
        if index.times is not None and index.time_base:
            wanted = index.times[0] + seconds / index.time_base
            return bisect_left(index.times, wanted - 0.5)
        return min(self.num_frames, math.ceil(min(seconds * (self.fps or 0), self.num_frames)))

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

        By decord where a trustworthy file has small frames or few are wanted, else by PyAV: the frames are the same.

        Raises:
            MediaError: If they cannot be decoded, or an index is out of range.
        """
        if not indices or indices[0] < 0 or indices[-1] >= self.num_frames:
            raise MediaError(f"{self.path}: expected frame numbers 0 to {self.num_frames - 1}, got {list(indices)}")
        done = 0
        quick = self._index.pixels <= _SMALL or len(indices) * _FEW <= self.num_frames
        if self._use_decord and (quick or self._choice == "decord"):
            self.decoder = "decord"
            try:
                for picture in self._decord_stream(indices):
                    yield picture
                    done += 1
                return
            except Exception as error:  # whatever decord makes of the file, PyAV has a try
                _logger.debug("%s: decord failed (%s), PyAV goes on", self.path, error)
                self._use_decord = False
            finally:
                self._decord = None  # it would keep more and more frames
        self.decoder = "pyav"
        yield from pyav_stream(self.path, self._index, indices[done:])

    def _decord_stream(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        if not first_frame_is_plain(self.path, self._index):
            raise ValueError("it is interlaced, turned or mirrored")
        self._decord = _decord_module().VideoReader(f"file:{self.path}", num_threads=1, fault_tol=1e-9)
        if len(self._decord) != self.num_frames:
            raise ValueError(f"decord counts {len(self._decord)} frames, PyAV {self.num_frames}")
        for start in range(0, len(indices), _BATCH):
            batch = self._decord.get_batch(list(indices[start : start + _BATCH]))
            # Another user of decord in this process may have set a bridge: then this is that library's tensor.
            yield from batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)


def video_decoder() -> str:
    """Which decoder is to be used: "auto", "decord" (wherever it can be trusted) or "pyav".

    Raises:
        TomeZooError: If the environment variable `TOME_ZOO_VIDEO_DECODER` names another one.
    """
    choice = os.environ.get(VARIABLE, "auto").lower()
    if choice not in DECODERS:
        raise TomeZooError(f"{VARIABLE} should be one of {', '.join(DECODERS)}; got {choice!r}")
    return choice


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
