"""What a card may say: models, data sets and evaluation protocols. Frozen; unknown keys are refused."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from tome_zoo import schedule
from tome_zoo.errors import TomeZooError
from tome_zoo.modalities.inputs import AudioInput, ImageInput, Modality, Sampling, VideoInput
from tome_zoo.transformer.architecture import Architecture

Layout = Literal["timm", "mae", "mae_st", "audiomae", "swag", "torchvision", "videomae", "videomae_hf", "ast_hf"]
DatasetFormat = Literal["image_folder", "video_list", "kinetics_csv", "class_folders", "audioset_json", "audioset_csv"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, strict=True)]

INPUTS: dict[str, type[ImageInput] | type[VideoInput] | type[AudioInput]] = {
    "image": ImageInput,
    "video": VideoInput,
    "audio": AudioInput,
}
FORMATS: dict[str, tuple[DatasetFormat, ...]] = {
    "image": ("image_folder",),
    "video": ("video_list", "kinetics_csv", "class_folders"),
    "audio": ("audioset_json", "audioset_csv"),
}
"""How data sets of each modality may lie on disk."""


def _schedule(value: Any) -> Any:
    """TOML has no tuples: an integer and a float are (r, inflection); integers alone are one r a block."""
    if isinstance(value, str):
        try:
            parsed = schedule.parse(value)
        except TomeZooError as error:
            raise ValueError(str(error)) from None
        if len(parsed) != 1:
            raise ValueError(f"{value!r} stands for {len(parsed)} schedules, expected one")
        return parsed[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(type(item) is int for item in value):
        return list(value)
    if isinstance(value, list | tuple) and len(value) == 2 and type(value[0]) is int and type(value[1]) is float:
        return (value[0], value[1])
    raise ValueError(f"r must be 8, [8, -1.0] or [9, 0, 4] (a float marks the inflection), got {value!r}")


R = Annotated[int | tuple[int, float] | list[int], BeforeValidator(_schedule)]


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Weights(_Card):
    """Where a file of weights is and what it is; exactly one of `file`, `url` and `hub`.

    Attributes:
        file: A file beside the card; relative paths are resolved when the card is read.
        url: Where the publisher offers it.
        hub: Repository on the Hugging Face hub, with `filename` and, where known, a pinned `revision`.
        layout: How its keys are named; `tome_zoo.weights.load` converts it to timm's.
        md5_prefix: Leading hex digits that its publisher prints; likewise `sha1`, `sha256` (all or leading digits).
        license: Licence of the weights, which is not the licence of this package.
        source: Who published it, and where that is written.
        by_hand: Why nobody but a person can fetch it; empty when it can be fetched.
    """

    layout: Layout
    license: str
    source: str = ""
    file: Path | None = None
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    hub: Annotated[str, Field(pattern=r"^[\w.\-]+/[\w.\-]+$")] | None = None
    revision: str | None = None
    filename: Annotated[str, Field(pattern=r"^[\w.\-]+(/[\w.\-]+)*$")] | None = None
    md5_prefix: Annotated[str, Field(pattern=r"^[0-9a-f]{6,32}$")] | None = None
    sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{6,40}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")] | None = None
    by_hand: str = ""

    @field_validator("file")
    @classmethod
    def _beside_the_card(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        folder = (info.context or {}).get("folder")
        return value if value is None or folder is None else Path(folder) / value

    @model_validator(mode="after")
    def _one_place(self) -> "Weights":
        given = [name for name in ("file", "url", "hub") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of file, url and hub; got {', '.join(given) or 'none of them'}")
        if self.hub is None and self.revision is not None:
            raise ValueError("revision belongs to hub: remove it or give hub and filename")
        if self.hub is not None and self.filename is None:
            raise ValueError("hub needs filename, the file inside the repository")
        return self


class Merging(_Card):
    """How a model is merged: whether attention is proportional, the schedules to try, and the one to start with."""

    prop_attn: bool = True
    r: list[R] = [0]
    default_r: R = 0


class _Scores(_Card):
    """Scores in per cent (mAP as well: 47.3), GMACs of one view, samples a second."""

    r: R = 0
    top1: Percent | None = None
    top5: Percent | None = None
    map: Percent | None = None
    gmacs: Amount | None = None
    samples_per_second: Amount | None = None


class Reported(_Scores):
    """A published figure, with its source; `note` says how it differs from this very entry, if it does."""

    source: str
    note: str = ""


class Measured(_Scores):
    """A figure of our own `eval`, never written by hand; `protocol` is "name@version"."""

    protocol: str
    n_expected: Number | None = None
    n_scored: Number | None = None
    n_failed: Number | None = None
    weights: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: Number | None = None
    limit: Number | None = None
    version: str | None = None
    date: str | None = None


class ModelCard(_Card):
    """One entry of the zoo: what to build, what to feed it, and which weights to load.

    Attributes:
        name: `architecture.tag`; r is never part of it.
        summary: One or two sentences: what the file is, and what it is not.
        merging: Proportional attention as published, and the schedules worth trying.
        dataset: Name of the data set card whose classes the model predicts (or, for an encoder, it was trained on).
        protocol: Name of the protocol card by which it is evaluated.
        reported: Published figures.
        measured: Our own.
    """

    name: Name
    modality: Modality
    architecture: Architecture
    input: ImageInput | VideoInput | AudioInput
    dataset: Name
    protocol: Name
    summary: str = ""
    weights: Weights | None = None
    merging: Merging = Merging()
    reported: tuple[Reported, ...] = ()
    measured: tuple[Measured, ...] = ()

    @field_validator("input", mode="before")
    @classmethod
    def _input_of_the_modality(cls, value: Any, info: ValidationInfo) -> Any:
        kind = INPUTS.get(info.data.get("modality", ""))
        if kind is None or not isinstance(value, dict):
            return value
        known = set(kind.model_fields)
        if unknown := sorted(set(value) - known):
            raise ValueError(
                f"unknown key {unknown[0]!r} for {info.data['modality']}; known: {', '.join(sorted(known))}"
            )
        return kind.model_validate(value)

    @model_validator(mode="after")
    def _consistent(self) -> "ModelCard":
        if not isinstance(self.input, INPUTS[self.modality]):
            raise ValueError(f"a model of modality {self.modality!r} needs {INPUTS[self.modality].__name__} as input")
        if (self.modality == "video") != (self.architecture.num_frames is not None):
            raise ValueError("num_frames and tubelet_size belong to video models, and every video model needs them")
        for r in (
            *self.merging.r,
            self.merging.default_r,
            *(s.r for s in self.reported),
            *(s.r for s in self.measured),
        ):
            schedule.resolve(r, self.architecture.depth)
        return self


def _several(value: Any) -> Any:
    """One name stands for a list of that one."""
    return (value,) if isinstance(value, str) else value


NAME_FIELDS = ("ytid", "start", "end", "start_s", "end_s", "start_ms", "end_ms")
"""What a `name_template` may hold: times as the csv writes them, in whole seconds, in whole milliseconds."""


class DatasetCard(_Card):
    """A data set: how it lies on disk, its classes, and how to obtain it.

    Attributes:
        layout: The formats that it may lie in, tried in this order: "image_folder"; "video_list", "kinetics_csv",
            "class_folders"; "audioset_json", "audioset_csv". One alone may be written without brackets.
        splits: Name of a split -> its folder, list or manifest, relative to the root; or several that it may be called
            by. A format adds its own endings: "val" is a folder val/ and a list val.csv.
        num_classes: None means as many as there are class folders, or as `labels` lists.
        labels: File of class names in the card's folder: txt or json (names in order), or csv with the columns
            index, identifier, display_name. None where the names are read from disk or are not known.
        multi_label: Whether a sample may have several classes.
        name_template: How the files of an `audioset_csv` are called, without ending: "{ytid}_{start_ms}"; see
            `NAME_FIELDS`. None tries the usual ones.
        labels_source: Where the class names come from, and their licence.
        license: Licence of the data.
        origin: Who made it, and where.
        obtain: How to get it and lay it out.
    """

    name: Name
    modality: Modality
    title: str
    layout: Annotated[tuple[DatasetFormat, ...], BeforeValidator(_several), Field(min_length=1)]
    splits: dict[str, Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]] = Field(min_length=1)
    num_classes: Annotated[int, Field(gt=0, strict=True)] | None = None
    labels: Path | None = None
    labels_source: str = ""
    multi_label: bool = False
    name_template: str | None = None
    license: str
    origin: str
    obtain: str

    @field_validator("labels")
    @classmethod
    def _beside_the_card(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        folder = (info.context or {}).get("folder")
        return value if value is None or folder is None else Path(folder) / value

    @field_validator("name_template")
    @classmethod
    def _known_fields(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                other = value.format(**dict.fromkeys(NAME_FIELDS, 0))
            except (KeyError, IndexError, ValueError, AttributeError, TypeError):
                other = value
            if other == value or "{ytid" not in value:
                fields = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
                raise ValueError(f"expected a template with {{ytid}} and perhaps others of {fields}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetCard":
        for item in self.layout:
            if item not in FORMATS[self.modality]:
                raise ValueError(
                    f"layout {item!r} is not for {self.modality}, expected some of {', '.join(FORMATS[self.modality])}"
                )
        if self.num_classes is None and self.labels is None and self.layout != ("image_folder",):
            raise ValueError("num_classes may be left out only where labels, or class folders of images, tell it")
        return self


class ProtocolCard(_Card):
    """An evaluation protocol; figures of different versions are never compared.

    Attributes:
        version: Raised whenever a change could alter a score.
        temporal_views: Clips a sample.
        spatial_views: Crops a clip.
        sampling: Which frames the clips of a video have: "clip", as spatiotemporal MAE, at the model's own frame rate;
            "strided", as VideoMAE, every so-many-th frame of the file, whatever its rate.
        aggregate: How the views of a sample become one row of scores: mean of the softmax, mean of the logits, or none.
        metric: "top1_top5", or "map" (mean average precision over the classes that have positives).
    """

    name: Name
    version: Annotated[int, Field(gt=0, strict=True)]
    modality: Modality
    summary: str = ""
    temporal_views: Annotated[int, Field(gt=0, strict=True)] = 1
    spatial_views: Annotated[int, Field(gt=0, strict=True)] = 1
    sampling: Sampling = "clip"
    aggregate: Literal["softmax_mean", "logit_mean", "none"] = "none"
    metric: Literal["top1_top5", "map"] = "top1_top5"

    @model_validator(mode="after")
    def _consistent(self) -> "ProtocolCard":
        if self.modality != "video" and self.temporal_views != 1:
            raise ValueError(f"temporal_views must be 1 for {self.modality}, got {self.temporal_views}")
        if self.modality != "video" and self.sampling != "clip":
            raise ValueError(f"sampling = {self.sampling!r} is for video, this protocol is for {self.modality}")
        if self.aggregate == "none" and self.temporal_views * self.spatial_views > 1:
            raise ValueError("several views need aggregate = 'softmax_mean' or 'logit_mean'")
        return self

    @property
    def id(self) -> str:
        """`name@version`, as results state it."""
        return f"{self.name}@{self.version}"
