"""Pictures turned and mirrored as their file says, by the rules of the ffmpeg program."""

import math
import struct

import av
import numpy as np
from av.sidedata.sidedata import Type


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """[height, width, 3], uint8, upright."""
    picture = frame.to_ndarray(format="rgb24")
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return np.ascontiguousarray(picture)
    return np.ascontiguousarray(upright(picture, struct.unpack("=9i", bytes(data)[:36])))


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
