"""Images and videos in class folders."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from tome_zoo.data.formats.files import IMAGES, VIDEOS, files, subfolders
from tome_zoo.data.formats.split import Listing, Sample, Source
from tome_zoo.errors import DataError


def find_images(source: Source) -> Path | None:
    """The folder that holds the split's class folders, or the root where it holds them itself."""
    return _find(source, source.stems, IMAGES)


def find_videos(source: Source) -> Path | None:
    """The same for videos; they may lie in videos/<split> as well."""
    return _find(source, _video_folders(source), VIDEOS)


def expected_images(source: Source) -> str:
    """What was looked for, and what lies there instead, if it can be told."""
    text = f"{source.stems[0]}/<class>/<image> (or <class>/<image> in ROOT itself)"
    if also := source.stems[1:]:
        text += f", where {source.stems[0]} may be called {' or '.join(also)}"
    return text + _packed(source)


def expected_videos(source: Source) -> str:
    """What was looked for."""
    return f"<class>/<video> in one of {', '.join(f'{name}/' for name in _video_folders(source))}, or in ROOT itself"


def read_images(source: Source, place: Path) -> Listing:
    """Images in class folders, and folders below those.

    Folders are matched with the card's identifiers and names; some may be missing. Where the card lists none, their
    sorted order counts, together with the classes of the training split, if it lies beside: a class that has no
    folder in the validation split must not move the others up.

    Raises:
        DataError: If a folder is no class, two are the same, they are too few or too many, or they hold no images.
    """
    if source.classes.names:
        return _read(source, place, IMAGES)
    names = set(subfolders(place))
    for name in _training(source):
        if (source.root / name) != place and (source.root / name).is_dir():
            names |= set(subfolders(source.root / name))
    count = source.card.num_classes
    if count is not None and len(names) != count:
        raise DataError(f"{place}: expected {count} class folders, got {len(names)}")
    ordered = sorted(names)
    return _read(source, place, IMAGES, {name: index for index, name in enumerate(ordered)})


def read_videos(source: Source, place: Path) -> Listing:
    """Videos in class folders, which are matched by name, never by their order: stripped of `'()` they sort otherwise.

    Raises:
        DataError: If the card names no classes, a folder is none of them, two are the same, or they hold no videos.
    """
    if not source.classes.names:
        raise DataError(
            f"{place}: card {source.card.name} names no classes to match the folders with; write a list with one "
            "`path label` a line (video_list), or set labels on a card of your own"
        )
    return _read(source, place, VIDEOS)


def _find(source: Source, names: Sequence[str], endings: Collection[str]) -> Path | None:
    if not source.root.is_dir():
        return None
    for name in names:
        if (source.root / name).is_dir() and subfolders(source.root / name):
            return source.root / name
    stems = {stem for split in source.card.splits for stem in source.stems_of(split)}
    below = subfolders(source.root)
    if any(name in stems for name in below):
        return None  # they are splits, not classes
    if source.classes.names:
        return source.root if any(source.classes.find(name) is not None for name in below) else None
    return source.root if any(next(files(source.root / name, endings), None) for name in below) else None


def _video_folders(source: Source) -> tuple[str, ...]:
    return tuple(name for stem in source.stems for name in (stem, f"videos/{stem}"))


def _training(source: Source) -> tuple[str, ...]:
    return source.stems_of("train") if "train" in source.card.splits else ()


def _read(source: Source, place: Path, endings: Collection[str], ranks: dict[str, int] | None = None) -> Listing:
    classes = source.classes
    samples: list[Sample] = []
    owner: dict[int, str] = {}
    for name in subfolders(place):
        index = classes.find(name) if ranks is None else ranks[name]
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
    return Listing(samples, classes.names if ranks is None else tuple(ranks), (place,))


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
