"""Pictures that play: MP4 by PyAV, GIF by Pillow."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import IO

import av
import numpy as np
from PIL import Image

SECONDS = 4.0  # a shorter clip is played again until an MP4 lasts that long; a GIF runs in a circle by itself


def write_mp4(frames: Sequence[Image.Image], file: IO[bytes], rate: float) -> None:
    """H.264 that browsers play, `rate` frames a second.

    Args:
        frames: Of one size; an odd side gets one more row or column, which H.264 wants.
        file: Open for writing, or a buffer in memory.
        rate: Frames a second.
    """
    size = tuple(side + side % 2 for side in frames[0].size)
    rounds = max(1, math.ceil(SECONDS * rate / len(frames)))
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium", "tune": "animation"}
        for frame in [frame for _ in range(rounds) for frame in frames]:
            canvas = np.full((size[1], size[0], 3), 255, np.uint8)
            canvas[: frame.height, : frame.width] = np.asarray(frame)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        container.mux(stream.encode(None))


def write_gif(frames: Sequence[Image.Image], file: IO[bytes], rate: float) -> None:
    """A GIF in a circle; its time runs in hundredths of a second.

    All frames share 256 colours without dithering, so that a group keeps its colour through time; an MP4 is smoother.
    """
    duration = [round(100 * (n + 1) / rate) * 10 - round(100 * n / rate) * 10 for n in range(len(frames))]
    together = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))
    palette = together.quantize(256)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    indexed[0].save(file, "GIF", save_all=True, append_images=indexed[1:], duration=duration, loop=0)
