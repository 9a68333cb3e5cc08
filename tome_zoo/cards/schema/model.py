"""What a model card may say: architecture, input, weights, merging, and what is known of its scores."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tome_zoo import schedule
from tome_zoo.cards.schema.fields import Amount, Card, Name, Number, Percent, R
from tome_zoo.modalities.inputs import AudioInput, ImageInput, Modality, VideoInput
from tome_zoo.transformer.architecture import Architecture

Layout = Literal["timm", "mae", "mae_st", "audiomae", "swag", "torchvision", "videomae", "videomae_hf", "ast_hf", "ast"]
INPUTS: dict[str, type[ImageInput] | type[VideoInput] | type[AudioInput]] = {
    "image": ImageInput,
    "video": VideoInput,
    "audio": AudioInput,
}


class Weights(Card):
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


class Merging(Card):
    """How a model is merged: whether attention is proportional, the schedules to try, and the one to start with."""

    prop_attn: bool = True
    r: list[R] = Field(default=[0])
    default_r: R = 0


class _Scores(Card):
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
    version: str | None = None
    date: str | None = None


class ModelCard(Card):
    """One entry of the zoo: what to build, what to feed it, and which weights to load.

    Attributes:
        name: `architecture.tag`; r is never part of it.
        summary: One or two sentences: what the file is, and what it is not.
        merging: Proportional attention as published, and the schedules worth trying.
        dataset: Name of the data set card whose classes the model predicts (or, for an encoder, it was trained on).
        classes: Names of the outputs, in their order, where the data set's card does not list them.
        protocol: Name of the protocol card by which it is evaluated.
        timm: Name of the timm model that is built, which `architecture` then only describes; None builds the zoo's
            own transformer from `architecture`.
        reported: Published figures.
        measured: Our own.
    """

    name: Name
    modality: Modality
    architecture: Architecture
    input: ImageInput | VideoInput | AudioInput
    dataset: Name
    protocol: Name
    classes: tuple[str, ...] = ()
    timm: str | None = None
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
        if self.classes and len(self.classes) != self.architecture.num_classes:
            raise ValueError(
                f"classes names {len(self.classes)} outputs, "
                f"architecture.num_classes is {self.architecture.num_classes}"
            )
        for r in (
            *self.merging.r,
            self.merging.default_r,
            *(s.r for s in self.reported),
            *(s.r for s in self.measured),
        ):
            schedule.resolve(r, self.architecture.depth)
        return self

    @property
    def is_timm_own(self) -> bool:
        """Whether it is timm's own entry, whose weights timm loads."""
        return self.timm is not None and self.timm == self.name
