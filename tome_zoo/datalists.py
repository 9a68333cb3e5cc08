"""How data sets list their samples: class folders, `path label` lines, AudioSet's JSON manifests."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tome_zoo.cards.schema import DatasetCard
from tome_zoo.errors import DataError

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
VIDEOS = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v"})

_LINE = re.compile(r"(?P<path>.*[^\s,])\s*[\s,]\s*(?P<label>\S+)")


@dataclass(frozen=True)
class Sample:
    """One file and what is in it.

    Attributes:
        id: Its path relative to the split's folder or to the list's, with forward slashes; the same on every machine.
        path: Where it lies.
        target: Its class, or, in a data set of several classes a sample, all of them in ascending order.
    """

    id: str
    path: Path
    target: int | tuple[int, ...]


Listing = tuple[list[Sample], tuple[str, ...]]  # samples, and the names of the classes


class Classes:
    """Finds the number of a class by its identifier or name, regardless of case, spaces, underscores and punctuation.

    Attributes:
        names: In the order of a model's outputs; empty when nobody knows them.
    """

    def __init__(self, card: DatasetCard, ids: Sequence[str], names: Sequence[str]) -> None:
        """Index the identifiers and names of a card's classes; both empty where it lists none."""
        self.card, self.names = card, tuple(names)
        self._exact = {name: index for index, name in enumerate(names)} | {key: index for index, key in enumerate(ids)}
        self._loose: dict[str, int | None] = {}
        for index, name in enumerate(names):
            # Names that only punctuation tells apart are found by their exact spelling alone.
            self._loose[_plain(name)] = None if _plain(name) in self._loose else index

    def find(self, text: str) -> int | None:
        """The number of a class; None if there is no such class."""
        return self._exact[text] if text in self._exact else self._loose.get(_plain(text))

    def target(self, indices: Iterable[int]) -> int | tuple[int, ...]:
        """The target of a sample of these classes; raises ValueError for several where the card allows one."""
        unique = tuple(sorted(set(indices)))
        if self.card.multi_label:
            return unique
        if len(unique) != 1:
            raise ValueError(f"expected one label, got {len(unique)}")
        return unique[0]


def read_image_folder(root: Path, card: DatasetCard, split: str, classes: Classes) -> Listing:
    """Images in class folders, ROOT/<split>/<class>/**, or in the class folders of ROOT itself.

    Folders are matched with the card's identifiers and names; where the card lists none, their sorted order counts.

    Raises:
        DataError: If there are none, or a folder is no class.
    """
    folder = _class_root(root, card, [card.splits[split], split])
    if folder is None:
        raise DataError(f"{root}: expected {card.splits[split]}/<class>/<image>; no such folders")
    return _from_folders(folder, card, classes, IMAGES, by_rank=not classes.names)


def read_video_list(root: Path, card: DatasetCard, split: str, classes: Classes) -> Listing:
    """Videos named by a list, one `path label` a line (or `path,label`), or lying in class folders.

    Paths are relative to the list's folder and may hold spaces. Class folders are matched by name, never by their
    order: stripped of punctuation they sort differently.

    Raises:
        DataError: If there is neither, or a line is malformed, out of range or a repetition.
    """
    listing = root if root.is_file() else root / card.splits[split]
    if not listing.is_file():
        folder = _class_root(root, card, [split, listing.stem])
        if folder is None:
            raise DataError(f"{listing}: no such list; expected `path label` lines there, or {split}/<class>/<video>")
        if not classes.names:
            raise DataError(f"{folder}: card {card.name} names no classes to match the folders with; write {listing}")
        return _from_folders(folder, card, classes, VIDEOS, by_rank=False)
    samples = _Samples(listing)
    for number, line in enumerate(_text(listing).splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise DataError(f"{listing}, {where}: expected `path label`, got {line.strip()!r}")
        label = match["label"]
        if not re.fullmatch(r"[0-9]{1,9}", label) or int(label) >= card.num_classes:
            raise DataError(
                f"{listing}, {where}: expected a label of 0 to {card.num_classes - 1} at the end, got {label!r}"
            )
        samples.add(match["path"].strip('"'), classes.target([int(label)]), where)
    return samples.done("`path label` lines"), classes.names


def read_audioset_json(root: Path, card: DatasetCard, split: str, classes: Classes) -> Listing:
    """Sounds named by a manifest, {"data": [{"wav": path, "labels": "id,id"}, ...]}, relative to its folder.

    Raises:
        DataError: If it is missing, no such JSON, or an entry names no file, an unknown label or a file named before.
    """
    manifest = root if root.is_file() else root / card.splits[split]
    if not manifest.is_file():
        raise DataError(f'{manifest}: no such manifest; expected {{"data": [{{"wav": ..., "labels": ...}}, ...]}}')
    try:
        content: Any = json.loads(_text(manifest))
    except json.JSONDecodeError as error:
        raise DataError(f"{manifest}, line {error.lineno}: no valid JSON ({error.msg})") from None
    except RecursionError:
        raise DataError(f"{manifest}: no manifest, its JSON is nested too deeply") from None
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(
            f'{manifest}: expected {{"data": [...]}}, got {type(content).__name__} without a list in "data"'
        )
    samples = _Samples(manifest)
    for number, entry in enumerate(entries):
        where = f"data[{number}]"
        if not isinstance(entry, dict):
            raise DataError(f'{manifest}, {where}: expected {{"wav": ..., "labels": ...}}, got {entry!r}')
        for key in ("wav", "labels"):
            if not isinstance(entry.get(key), str) or (key == "wav" and not entry[key].strip()):
                raise DataError(f"{manifest}, {where}.{key}: expected a string, got {entry.get(key)!r}")
        found = []
        for label in filter(None, (part.strip() for part in entry["labels"].split(","))):
            index = classes.find(label)
            if index is None:
                raise DataError(f"{manifest}, {where}.labels: {label!r} is no class of data set {card.name}")
            found.append(index)
        try:
            target = classes.target(found)
        except ValueError as error:
            raise DataError(f"{manifest}, {where}.labels: {error}") from None
        samples.add(entry["wav"], target, where)
    return samples.done('entries in "data"'), classes.names


class _Samples:
    """Collects the samples of a list; each file once."""

    def __init__(self, listing: Path) -> None:
        self.listing = listing
        self.seen: dict[str, str] = {}
        self.samples: list[Sample] = []

    def add(self, name: str, target: int | tuple[int, ...], where: str) -> None:
        path = self.listing.parent / name
        key = Path(os.path.normpath(name)).as_posix()
        if path.is_relative_to(self.listing.parent):
            key = Path(os.path.normpath(path.relative_to(self.listing.parent))).as_posix()
        if key in self.seen:
            raise DataError(
                f"{self.listing}, {where}: {name!r} was listed before, at {self.seen[key]}; remove one of them"
            )
        self.seen[key] = where
        self.samples.append(Sample(key, path, target))

    def done(self, expected: str) -> list[Sample]:
        if not self.samples:
            raise DataError(f"{self.listing}: the list is empty; expected {expected}")
        return self.samples


def _class_root(root: Path, card: DatasetCard, names: Sequence[str]) -> Path | None:
    """The folder that holds a split's class folders: one of `names`, or the root where it holds no split at all."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    splits = {*card.splits, *(Path(value).stem for value in card.splits.values())}
    if root.is_dir() and not any((root / name).is_dir() for name in splits) and _folders(root):
        return root
    return None


def _from_folders(
    folder: Path, card: DatasetCard, classes: Classes, endings: frozenset[str], *, by_rank: bool
) -> Listing:
    folders = _folders(folder)
    if by_rank and len(folders) != card.num_classes:
        raise DataError(f"{folder}: expected {card.num_classes} class folders, got {len(folders)}")
    samples = []
    owner: dict[int, str] = {}
    for rank, name in enumerate(folders):
        index = rank if by_rank else classes.find(name)
        if index is None:
            raise DataError(f"{folder / name}: the folder's name is no class of data set {card.name}")
        if index in owner:
            raise DataError(f"{folder}: folders {owner[index]!r} and {name!r} are the same class; move them together")
        owner[index] = name
        target = classes.target([index])
        for directory, below, files in os.walk(folder / name, followlinks=True):
            below.sort()
            for file in sorted(files):
                path = Path(directory, file)
                if path.suffix.lower() in endings and not file.startswith("."):
                    samples.append(Sample(path.relative_to(folder).as_posix(), path, target))
    if not samples:
        raise DataError(f"{folder}: no files in its class folders; expected {', '.join(sorted(endings))}")
    return samples, tuple(folders) if by_rank else classes.names


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected UTF-8 text") from None


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
