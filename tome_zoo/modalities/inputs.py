"""What a model expects of its input, and how many views of a sample a protocol takes."""

from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from tome_zoo.transformer.architecture import Architecture

Modality = Literal["image", "video", "audio"]
Sampling = Literal["clip", "strided"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rgb = tuple[Finite, Finite, Finite]
PositiveRgb = tuple[Positive, Positive, Positive]


class Span(NamedTuple):
    """A stretch of a recording, in seconds; the end may be infinite."""

    start: float
    end: float


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageInput(_Frozen):
    """Preprocessing of an image: resize to size / crop_pct, crop the centre, normalise.

    `crop_mode` tells how it is resized, in timm's words: "center", the short side, and what is left over on the long
    one is cut off; "squash", both sides, which changes the aspect ratio.
    """

    mean: Rgb
    std: PositiveRgb
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"] = "bicubic"
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 0.875
    crop_mode: Literal["center", "squash"] = "center"


class VideoInput(_Frozen):
    """Preprocessing of a clip: `num_frames` frames, `sampling_rate` frames apart at `target_fps` frames a second.

    Protocols of sampling "strided" count frames of the file instead; there `target_fps` has no say.
    One spatial view: short side to size / crop_pct, crop the centre; three: short side to size, crops along the other.
    """

    mean: Rgb
    std: PositiveRgb
    sampling_rate: Annotated[int, Field(gt=0)] = 4
    target_fps: Positive = 30.0
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 0.875


class AudioInput(_Frozen):
    """Preprocessing of a sound: one channel at `sample_rate`, Kaldi log-mel filter bank, pad or crop, normalise.

    `mean` and `std` are those of the filter bank; the model sees (features - mean) / (2 * std).
    """

    mean: Finite
    std: Positive
    sample_rate: Annotated[int, Field(gt=0)] = 16000  # Hz
    frame_shift: Positive = 10.0  # ms
    channel: Literal["mean", "first"] = "mean"


class ViewProtocol(Protocol):
    """The part of a protocol card that decides which views of a sample are taken."""

    @property
    def temporal_views(self) -> int:
        """Clips of a video, or stretches of a sound."""

    @property
    def spatial_views(self) -> int:
        """Crops of each."""

    @property
    def sampling(self) -> Sampling:
        """Which frames the clips of a video have; see `video.clips`."""


class Spec(Protocol):
    """What a modality needs to know of a model; a model card is one."""

    @property
    def architecture(self) -> Architecture:
        """The shape of the transformer and of its input."""

    @property
    def input(self) -> ImageInput | VideoInput | AudioInput:
        """Preprocessing."""
