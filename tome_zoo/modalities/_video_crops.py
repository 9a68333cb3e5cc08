"""Pictures of a video: scaled, normalised and cropped as the tests of spatiotemporal MAE and VideoMAE do."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tome_zoo.errors import CardError
from tome_zoo.modalities._checks import modest
from tome_zoo.modalities.inputs import Sampling, VideoInput


def scaled_size(height: int, width: int, target: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in which a crop of `target` just fits; the side that is longer than needed is rounded down."""
    if height * target[1] <= width * target[0]:
        fitted = target[0], width if height == target[0] else math.floor(width / height * target[0])
    else:
        fitted = height if width == target[1] else math.floor(height / width * target[1]), target[1]
    return max(fitted[0], target[0]), max(fitted[1], target[1])


def crop_offsets(
    height: int, width: int, size: tuple[int, int], n_crops: int, rounded: Callable[[float], int] = math.ceil
) -> list[tuple[int, int]]:
    """(top, left) of one centre crop, or of three: both ends of the long side and the centre, `rounded` up or down.

    Raises:
        CardError: If `n_crops` is neither 1 nor 3.
    """
    top, left = rounded((height - size[0]) / 2), rounded((width - size[1]) / 2)
    if n_crops == 1:
        return [(top, left)]
    if n_crops != 3:
        raise CardError(f"spatial_views must be 1 or 3 for videos, got {n_crops}: choose another protocol")
    if height > width:
        return [(0, left), (top, left), (height - size[0], left)]
    return [(top, 0), (top, left), (top, width - size[1])]


class Cropper:
    """Makes the crops of one picture after the other, in buffers that it keeps as long as pictures have one size.

    VideoMAE rounds scaled pixels to 8 bits, which is not done here; its centre crop is rounded down, MAE's up.
    """

    def __init__(self, size: tuple[int, int], n_crops: int, settings: VideoInput, sampling: Sampling) -> None:
        """Crops of `size` (height, width), 1 or 3 a picture."""
        pct = settings.crop_pct if n_crops == 1 else 1.0
        self._size, self._n_crops = size, n_crops
        self._target = int(size[0] / pct), int(size[1] / pct)
        self._rounded = math.floor if sampling == "strided" else math.ceil
        # (x / 255 - mean) / std is x * factor + shift
        self._factor = _planes([1 / (255 * std) for std in settings.std])
        self._shift = _planes([-mean / std for mean, std in zip(settings.mean, settings.std, strict=True)])
        self._shape: tuple[int, ...] = ()

    def __call__(self, picture: np.ndarray) -> list[Tensor]:
        """[height, width, 3], uint8 -> crops [3, *size], float32, normalised; they hold until the next call.

        Raises:
            MediaError: If the picture is too long and narrow.
        """
        if picture.shape != self._shape:
            self._prepare(picture.shape)
        scaled = torch.from_numpy(picture).permute(2, 0, 1)  # [3, height, width], uint8
        if self._scaled is not None:
            self._pixels.copy_(scaled)
            torch.ops.aten.upsample_bilinear2d.out(self._pixels, self._scaled.shape[2:], False, out=self._scaled)
            scaled = self._scaled[0]
        self._planes.copy_(scaled[:, self._rows, self._columns]).mul_(self._factor).add_(self._shift)
        return self._crops

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Buffers for pictures of a shape [height, width, 3]."""
        height, width = scaled_size(shape[0], shape[1], self._target)
        modest(height, width)
        self._scaled: Tensor | None = None
        if (height, width) != shape[:2]:
            self._pixels = _side_by_side(*shape[:2])
            self._scaled = _side_by_side(height, width)
        offsets = crop_offsets(height, width, self._size, self._n_crops, self._rounded)
        (first_top, first_left), (last_top, last_left) = min(offsets), max(offsets)
        self._rows = slice(first_top, last_top + self._size[0])
        self._columns = slice(first_left, last_left + self._size[1])
        extent = last_top - first_top + self._size[0], last_left - first_left + self._size[1]
        self._planes = torch.empty(3, *extent, dtype=torch.float32)
        self._crops = [
            self._planes[:, top - first_top :, left - first_left :][:, : self._size[0], : self._size[1]]
            for top, left in offsets
        ]
        self._shape = shape


def _planes(values: list[float]) -> Tensor:
    """One value a channel, [3, 1, 1]."""
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


def _side_by_side(height: int, width: int) -> Tensor:
    """[1, 3, height, width] with the channels of a pixel side by side, as decoders give them: scaling is quicker."""
    return torch.empty(1, 3, height, width, dtype=torch.float32, memory_format=torch.channels_last)
