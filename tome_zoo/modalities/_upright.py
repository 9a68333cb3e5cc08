"""Pictures turned and mirrored as their file says, by the rules of the ffmpeg program."""

import math
import struct

import av
import numpy as np
from av.sidedata.sidedata import Type


class Upright:
    """Frames of one stream as pixels, upright.

    Their display matrix is read only where their rotation changes: PyAV keeps frames whose side data were asked for
    until garbage is collected, which would be all of a video.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix: tuple[int, ...] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """[height, width, 3], uint8, upright."""
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            data = frame.side_data.get(Type.DISPLAYMATRIX)
            self._matrix = None if data is None else struct.unpack("=9i", bytes(data)[:36])
        picture = frame.to_ndarray(format="rgb24")
        return np.ascontiguousarray(picture if self._matrix is None else upright(picture, self._matrix))


def upright(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """[height, width, 3] by a display matrix of nine numbers; other angles than quarter turns go to the nearest one."""
    across, down = (math.hypot(matrix[i], matrix[i + 3]) for i in (0, 1))
    if not across or not down:
        return picture
    angle = math.degrees(math.atan2(matrix[1] / down, matrix[0] / across))
    quarters = round(angle / 90) % 4  # clockwise
    if quarters == 1:
        return picture.swapaxes(0, 1) if matrix[3] > 0 else np.rot90(picture, -1)
    if quarters == 3:
        return np.rot90(picture, -1)[::-1] if matrix[3] < 0 else np.rot90(picture)
    if quarters == 2 and matrix[0] < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if matrix[4] < 0 else picture
