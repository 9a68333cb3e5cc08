"""Images, videos and sounds in class folders."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from tome_zoo.data.formats.files import IMAGES, SOUNDS, VIDEOS, files, subfolders
from tome_zoo.data.formats.split import Listing, Sample, Source
from tome_zoo.errors import DataError, printable


def find_images(source: Source) -> Path | None:
    """The folder that holds the split's class folders, or the root where it holds them itself."""
    return _find(source, source.stems, IMAGES)


def find_media(source: Source) -> Path | None:
    """The same for videos and sounds; they may lie in videos/<split> or audio/<split> as well."""
    return _find(source, _media_folders(source), _endings(source))


def expected_images(source: Source) -> str:
    """What was looked for, and what lies there instead, if it can be told."""
    text = f"{source.stems[0]}/<class>/<image> (or <class>/<image> in ROOT itself)"
    if also := source.stems[1:]:
        text += f", where {source.stems[0]} may be called {' or '.join(also)}"
    return text + _packed(source)


def expected_media(source: Source) -> str:
    """What was looked for."""
    kind = "sound" if source.card.modality == "audio" else "video"
    return f"<class>/<{kind}> in one of {', '.join(f'{name}/' for name in _media_folders(source))}, or in ROOT itself"


def read_images(source: Source, place: Path) -> Listing:
    """Images in class folders, and folders below those.

    Folders are matched with the card's identifiers and names; some may be missing. Where the card lists none, their
    sorted order counts, together with the classes of the training split, if it lies beside: a class that has no
    folder in the validation split must not move the others up.

    Raises:
        DataError: If a folder is no class, two are the same, they are too few or too many, or they hold no images.
    """
    return _read(source, place, IMAGES, None if source.classes.names else _ranks(source, place, IMAGES))


def read_media(source: Source, place: Path) -> Listing:
    """Videos or sounds in class folders, as images are read; but where the card has so many classes and does not name
    them, the order of folders tells nothing: stripped of `'()` they sort otherwise.

    Raises:
        DataError: As `read_images`, or if the card does not name its classes.
    """
    endings = _endings(source)
    if not source.classes.names and source.card.num_classes is not None:
        raise DataError(
            f"{place}: card {source.card.name} names no classes to match the folders with; write a list with one "
            "`path label` a line (video_list), or set labels on a card of your own"
        )
    return _read(source, place, endings, None if source.classes.names else _ranks(source, place, endings))


def _ranks(source: Source, place: Path, endings: Collection[str]) -> dict[str, int]:
    """Folder -> number of its class, where the card names none; folders without files in any split are no classes."""
    splits = [place, *(source.root / name for name in _training(source))]
    names = {
        name
        for folder in splits
        if folder.is_dir()
        for name in subfolders(folder)
        if next(files(folder / name, endings), None) is not None
    }
    count = source.card.num_classes
    if count is not None and len(names) != count:
        raise DataError(f"{place}: expected {count} class folders, got {len(names)}")
    return {name: index for index, name in enumerate(_ordered(place, names))}


def _ordered(place: Path, names: set[str]) -> list[str]:
    """Sorted as texts; folders that are called 0 to n - 1 or 1 to n as numbers.

    Raises:
        DataError: If all are called by other numbers, whose order as numbers is not that as texts.
    """
    ordered = sorted(names)
    if not all(name.isascii() and name.isdigit() for name in names) or ordered == sorted(names, key=int):
        return ordered
    numbers = sorted(map(int, names))
    if numbers in (list(range(len(names))), list(range(1, len(names) + 1))):
        return sorted(names, key=int)
    raise DataError(
        f"{place}: its class folders are called by numbers, {ordered[0]}, {ordered[1]} and so on, of which nobody can "
        "tell the order of the classes; call them by names, or write the names, in the order of the model's outputs, "
        "on a card of your own"
    )


def _find(source: Source, names: Sequence[str], endings: Collection[str]) -> Path | None:
    if not source.root.is_dir():
        return None
    for name in names:
        if (source.root / name).is_dir() and subfolders(source.root / name):
            return source.root / name
    stems = {stem for split in source.card.splits for stem in source.stems_of(split)}
    below = subfolders(source.root)
    if any(name in stems and subfolders(source.root / name) for name in below):
        return None  # they are splits, not classes
    if source.classes.names:
        return source.root if any(source.classes.find(name) is not None for name in below) else None
    return source.root if any(next(files(source.root / name, endings), None) for name in below) else None


def _media_folders(source: Source) -> tuple[str, ...]:
    above = "audio" if source.card.modality == "audio" else "videos"
    return tuple(name for stem in source.stems for name in (stem, f"{above}/{stem}"))


def _endings(source: Source) -> Collection[str]:
    return SOUNDS if source.card.modality == "audio" else VIDEOS


def _training(source: Source) -> tuple[str, ...]:
    return source.stems_of("train") if "train" in source.card.splits else ()


def _read(source: Source, place: Path, endings: Collection[str], ranks: dict[str, int] | None = None) -> Listing:
    classes = source.classes
    samples: list[Sample] = []
    owner: dict[int, str] = {}
    for name in subfolders(place):
        index = classes.find(name) if ranks is None else ranks.get(name)
        if index is None and next(files(place / name, endings), None) is None:
            continue  # nothing of the data set lies in it
        if index is None:
            raise DataError(
                f"{place / name}: the folder's name is no class of data set {source.card.name}; "
                "rename it, or move it away"
            )
        if index in owner:
            raise DataError(f"{place}: folders {owner[index]!r} and {name!r} are the same class; move them together")
        owner[index] = name
        target = classes.target([index])
        for file in files(place / name, endings):
            samples.append(Sample(f"{name}/{file}", Path(os.path.join(place, name, file)), target))
    if not samples:
        raise DataError(f"{place}: no files in its class folders; expected {', '.join(sorted(endings))}")
    return Listing(samples, classes.names if ranks is None else tuple(map(printable, ranks)), (place,))


def _packed(source: Source) -> str:
    """How to unpack what lies at the root as it was downloaded."""
    if not source.root.is_dir():
        return ""
    way = (
        f"; for ImageNet, torchvision.datasets.ImageNet(ROOT, {source.split!r}) makes the class folders from "
        f"ILSVRC2012_img_{source.split}.tar and ILSVRC2012_devkit_t12.tar.gz, both in ROOT"
    )
    for folder in (source.root, *(source.root / stem for stem in source.stems)):
        if not folder.is_dir():
            continue
        packed = list(files(folder, (".tar", ".tgz", ".gz", ".zip"), deep=False))
        if packed:
            return f". {folder} holds {packed[0]}, still packed: unpack it into a folder for each class{way}"
        loose = next(files(folder, IMAGES, deep=False), None)
        if loose is not None:
            return f". {folder} holds images without class folders, as {loose}: sort them into one for each class{way}"
    return ""
