"""Whether a data set is whole: which files are missing, empty or cannot be decoded, before hours are spent on them."""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tome_zoo import cards
from tome_zoo.cards.catalogue import find
from tome_zoo.cards.schema import DatasetCard, ModelCard, ProtocolCard
from tome_zoo.data.dataset import Dataset, chosen_indices, open_dataset
from tome_zoo.data.decode import decode
from tome_zoo.data.formats.files import files
from tome_zoo.errors import DataError, printable

Kind = Literal["missing", "empty", "undecodable"]

_TEXT = (".csv", ".txt", ".json", ".tsv", ".md", ".bin")
_IN_FOLDERS = ("image_folder", "class_folders")


@dataclass(frozen=True)
class Fault:
    """A sample that cannot be scored, and why."""

    id: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        decoded_as: Model card by whose preprocessing the files were decoded; None: they were only read.
        listed: Samples of the split.
        checked: How many of them were looked at; the counts below are of these.
        faults: In the order of the samples.
        repaired: What was left out or stood in for in files that can be scored although parts are damaged.
        classes: How many classes the data set has.
        empty_classes: Names, or else numbers, of classes without a sample in the split.
        unlisted: Files beside those of the split that no list names, relative to the root.
    """

    dataset: str
    root: str
    split: str
    format: str
    decoded_as: str | None
    protocol: str | None
    listed: int
    checked: int
    faults: tuple[Fault, ...]
    repaired: tuple[str, ...]
    classes: int
    empty_classes: tuple[str, ...]
    unlisted: tuple[str, ...]

    def count(self, kind: Kind) -> int:
        """Faults of a kind."""
        return sum(fault.kind == kind for fault in self.faults)

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        missing = self.count("missing")
        numbers = {
            "found": self.checked - missing, "missing": missing, "empty": self.count("empty"),
            "undecodable": self.count("undecodable"), "good": self.checked - len(self.faults),
        }  # fmt: skip
        return {**asdict(self), **numbers, "faults": [asdict(fault) for fault in self.faults]}


def resolve_cards(name: str) -> tuple[DatasetCard, ModelCard | None, ProtocolCard | None]:
    """The data set card of that name, or of the model of that name, and what decodes it.

    A data set is decoded as by the first model card that names it; where there is none, its files are only read.

    Raises:
        CardError: If there is neither a data set nor a model of that name; it lists the nearest names.
    """
    known: dict[str, DatasetCard | ModelCard] = {**cards.model_cards(), **cards.dataset_cards()}
    card = find("data set or model", name, known)
    if isinstance(card, DatasetCard):
        dataset, model = card, next((m for m in cards.model_cards().values() if m.dataset == name), None)
    else:
        dataset, model = cards.dataset_card(card.dataset), card
    return dataset, model, None if model is None else cards.protocol_card(model.protocol)


def check_data(
    data: Dataset,
    model: ModelCard | None = None,
    protocol: ProtocolCard | None = None,
    *,
    workers: int = 0,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Check:
    """Decode the samples of a split and throw away what comes out.

    Args:
        data: The split.
        model: By whose preprocessing; None only reads the files (of a video three frames).
        protocol: Which views; needed with `model`.
        workers: Processes that decode; 0 decodes in this one.
        limit: That many samples, spread evenly over the split.
        progress: Called with (samples done, samples to do).

    Raises:
        CardError: If model, data set and protocol do not belong together.
    """
    indices = chosen_indices(len(data), limit)
    faults: list[Fault] = []
    repaired: list[str] = []
    decoded = decode(data, indices, model, protocol, workers=workers, keep_views=False)
    for done, item in enumerate(decoded, 1):
        if item.reason is not None:
            sample = data.samples[item.index]
            faults.append(Fault(sample.id, _kind(sample.path), item.reason))
        else:
            repaired.extend(item.notes)
        if progress is not None:
            progress(done, len(indices))
    return Check(
        dataset=data.card.name,
        root=str(data.root),
        split=data.split,
        format=data.format,
        decoded_as=None if model is None else model.name,
        protocol=None if model is None or protocol is None else protocol.id,
        listed=len(data),
        checked=len(indices),
        faults=tuple(faults),
        repaired=tuple(repaired),
        classes=data.num_classes,
        empty_classes=_empty_classes(data),
        unlisted=_unlisted(data),
    )


def _kind(path: Path) -> Kind:
    """What kind of fault a file has that cannot be decoded."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (OSError, ValueError):
        return "undecodable"
    return "empty" if stat.S_ISREG(status.st_mode) and status.st_size == 0 else "undecodable"


def _empty_classes(data: Dataset) -> tuple[str, ...]:
    there: set[int] = set()
    for sample in data.samples:
        there.update((sample.target,) if isinstance(sample.target, int) else sample.target)
    names = data.labels or [str(index) for index in range(data.num_classes)]
    return tuple(name for index, name in enumerate(names) if index not in there)


def _unlisted(data: Dataset) -> tuple[str, ...]:
    """Files in the folders of the split that are no sample of it, nor of another split."""
    base = data.root.parent if data.root.is_file() else data.root
    found: dict[str, str] = {}
    for folder in data.folders:
        if folder.is_dir():
            deep = folder != base or data.format in _IN_FOLDERS
            for name in files(folder, None, deep=deep):
                if not name.lower().endswith(_TEXT):
                    path = os.path.abspath(folder / name)
                    found[path] = Path(os.path.relpath(path, os.path.abspath(base))).as_posix()
    others = (
        [] if data.format in _IN_FOLDERS or data.root.is_file() else [s for s in data.card.splits if s != data.split]
    )
    for split in (data.split, *others):
        if found:
            for sample in data.samples if split == data.split else _samples(data, split):
                found.pop(os.path.abspath(sample.path), None)
    return tuple(sorted(map(printable, found.values())))


def _samples(data: Dataset, split: str) -> Sequence[Any]:
    try:
        return open_dataset(data.root, data.card, split, data.format).samples
    except DataError:  # it does not lie here, and is not what was asked about
        return ()
