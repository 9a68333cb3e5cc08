"""How data sets lie on disk: the formats that are known, and which of them a folder holds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tome_zoo.cards.schema import DATASET_FORMATS
from tome_zoo.data.formats import audioset_csv, audioset_json, csv_list, folders, kinetics_csv, split_lists, video_list
from tome_zoo.data.formats.split import Listing, Source
from tome_zoo.errors import DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """A way in which a split may lie on disk.

    Attributes:
        find: The list or folder from which it is read; None if it does not lie there.
        expected: What `find` looks for, in words.
        read: The samples; DataError where something is wrong with them.
    """

    find: Callable[[Source], Path | None]
    expected: Callable[[Source], str]
    read: Callable[[Source, Path], Listing]


FORMATS: dict[str, Format] = {
    "image_folder": Format(folders.find_images, folders.expected_images, folders.read_images),
    "video_list": Format(video_list.find, video_list.expected, video_list.read),
    "kinetics_csv": Format(kinetics_csv.find, kinetics_csv.expected, kinetics_csv.read),
    "class_folders": Format(folders.find_media, folders.expected_media, folders.read_media),
    "audioset_json": Format(audioset_json.find, audioset_json.expected, audioset_json.read),
    "audioset_csv": Format(audioset_csv.find, audioset_csv.expected, audioset_csv.read),
    "csv_list": Format(csv_list.find, csv_list.expected, csv_list.read),
    "path_list": Format(split_lists.find_paths, split_lists.expected_paths, split_lists.read_paths),
    "hmdb51_splits": Format(split_lists.find_hmdb, split_lists.expected_hmdb, split_lists.read_hmdb),
}


def read_split(source: Source, data_format: str | None = None) -> tuple[str, Listing]:
    """(format, samples) of a split, in the first of the card's formats that lies there, or in the one that is named.

    Raises:
        DataError: If none lies there, the name is none of the modality's formats, or the split cannot be read.
    """
    card = source.card
    if data_format is not None and data_format not in DATASET_FORMATS[card.modality]:
        raise DataError(
            f"data format {data_format!r} is not for {card.modality}, expected one of "
            f"{', '.join(DATASET_FORMATS[card.modality])}"
        )
    wanted = card.layout if data_format is None else (data_format,)
    found = {name: place for name in wanted if (place := FORMATS[name].find(source)) is not None}
    if not found:
        looked = "; ".join(f"{name}: {FORMATS[name].expected(source)}" for name in wanted)
        raise DataError(
            f"{source.root}: split {source.split!r} of data set {card.name} is not there. Looked for {looked}"
        )
    chosen, *others = found
    if others:
        _log.info(
            "%s: read as %s, from %s; %s lies there as well, and can be chosen by name (--format)",
            source.root, chosen, found[chosen], " and ".join(others),
        )  # fmt: skip
    return chosen, FORMATS[chosen].read(source, found[chosen])
