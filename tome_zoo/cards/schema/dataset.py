"""What a data set card may say."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from tome_zoo.cards.schema.fields import Card, Name
from tome_zoo.modalities.inputs import Modality

DatasetFormat = Literal[
    "image_folder", "video_list", "kinetics_csv", "class_folders", "audioset_json", "audioset_csv", "csv_list",
    "path_list", "hmdb51_splits",
]  # fmt: skip
DATASET_FORMATS: dict[str, tuple[DatasetFormat, ...]] = {
    "image": ("image_folder", "csv_list"),
    "video": ("video_list", "kinetics_csv", "class_folders", "csv_list", "path_list", "hmdb51_splits"),
    "audio": ("audioset_json", "audioset_csv", "class_folders", "csv_list", "path_list"),
}
"""How data sets of each modality may lie on disk."""
_TELL_CLASSES = {"image_folder", "class_folders", "csv_list", "path_list", "hmdb51_splits"}


def _several(value: Any) -> Any:
    """One name stands for a list of that one."""
    return (value,) if isinstance(value, str) else value


NAME_FIELDS = ("ytid", "start", "end", "start_s", "end_s", "start_ms", "end_ms", "start_float", "end_float")
"""What a `name_template` may hold: times as the csv writes them, in whole seconds, in whole ms, as Python's floats."""


class DatasetCard(Card):
    """A data set: how it lies on disk, its classes, and how to obtain it.

    Attributes:
        layout: The formats that it may lie in, tried in this order, of `DATASET_FORMATS`. One alone may be written
            without brackets.
        splits: Name of a split -> its folder, list or manifest, relative to the root; or several that it may be called
            by. A format adds its own endings: "val" is a folder val/ and a list val.csv.
        num_classes: None means as many as there are class folders, or as `labels` or a list on disk names.
        labels: File of class names in the card's folder: txt or json (names in order), or csv with the columns
            index, identifier, display_name. None where the names are read from disk or are not known.
        classes: The same names on the card itself, in place of a file.
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
    classes: tuple[str, ...] = ()
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
        known = DATASET_FORMATS[self.modality]
        for item in self.layout:
            if item not in known:
                raise ValueError(f"layout {item!r} is not for {self.modality}, expected some of {', '.join(known)}")
        if self.classes and (self.labels is not None or self.num_classes not in (None, len(self.classes))):
            raise ValueError("classes goes without labels, and num_classes, if given, is how many they are")
        if (
            self.num_classes is None
            and self.labels is None
            and not self.classes
            and not _TELL_CLASSES.issuperset(self.layout)
        ):
            raise ValueError("num_classes may be left out only where labels, or the formats of the layout, tell it")
        return self
