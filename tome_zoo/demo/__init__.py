"""Three small data sets, made by rule and written as real files; the embedded models are trained on them.

- `shapes` (image): one of 10 shapes among clutter, PNG in class folders;
- `motions` (video): a random texture that moves in one of 10 ways, H.264 with a `path label` list;
- `sounds` (audio): one to three of 12 events in noise, 16 kHz WAV with an AudioSet-style JSON manifest.

A sample depends on its index and on the seed of its split alone.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from tome_zoo.demo import motions, shapes, sounds
from tome_zoo.errors import DataError

SEEDS: Mapping[str, int] = MappingProxyType({"train": 20230501, "val": 7})
"""Seed of each split."""


class Maker(Protocol):
    """What the modules of this package offer."""

    @property
    def LABELS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of a module
        """Names of the classes."""
        ...

    def write(self, root: str | Path, *, split: str, count: int, seed: int) -> Iterator[Path]:
        """Write `count` samples, yielding each path when it is on disk."""
        ...


MAKERS: Mapping[str, Maker] = MappingProxyType({"shapes": shapes, "motions": motions, "sounds": sounds})

MODELS: Mapping[str, str] = MappingProxyType(
    {"demo_image.shapes": "shapes", "demo_video.motions": "motions", "demo_audio.sounds": "sounds"}
)
"""The embedded models, and the data set that each is trained on, by a recipe card of its own."""

COUNTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "shapes": {"train": 12000, "val": 500},
        "motions": {"train": 6000, "val": 400},
        "sounds": {"train": 8000, "val": 400},
    }
)
"""Samples of each split of a data set."""


def write_data(
    name: str,
    root: str | Path,
    *,
    split: str = "val",
    count: int | None = None,
    seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a split of a demo data set.

    Args:
        name: "shapes", "motions" or "sounds".
        root: Folder of the data set; files of the split that lie there are replaced.
        split: "train" or "val".
        count: Samples; None takes those of `COUNTS`.
        seed: None takes that of the split.
        progress: Called with (samples written, samples in all).

    Returns:
        `root`, as `open_dataset` and `evaluate` take it.

    Raises:
        DataError: If there is no such data set or split, or `count` is not positive.
    """
    if name not in MAKERS:
        raise DataError(f"no demo data set is named {name!r}; there are {', '.join(MAKERS)}")
    if split not in SEEDS:
        raise DataError(f"a demo data set has the splits {', '.join(SEEDS)}; got {split!r}")
    if count is None:
        count = COUNTS[name][split]
    if count < 1:
        raise DataError(f"count should be at least 1, got {count}")
    root = Path(root)
    paths = MAKERS[name].write(root, split=split, count=count, seed=SEEDS[split] if seed is None else seed)
    for done, _ in enumerate(paths, 1):
        if progress is not None:
            progress(done, count)
    return root


def write_missing_data(
    name: str, root: str | Path, split: str, *, progress: Callable[[int, int, str], None] | None = None
) -> None:
    """Write a split of a demo data set, if it is not there.

    Args:
        name: "shapes", "motions" or "sounds".
        root: Folder of the data set.
        split: "train" or "val".
        progress: Called with (samples written, samples in all, what is written).

    Raises:
        DataError: If what lies there is not the whole split.
    """
    from tome_zoo import cards  # this function alone needs them, and they take a while to import
    from tome_zoo.data.dataset import open_dataset

    card = cards.dataset_card(name)
    place = Path(root) / card.splits[split][0]
    if not place.exists():
        write_data(name, root, split=split, progress=with_description(progress, f"writing {name} {split}"))
    found = len(open_dataset(root, card, split))
    if found != COUNTS[name][split]:
        raise DataError(
            f"expected {COUNTS[name][split]} samples of split {split!r} in {place}, found {found}, as an "
            "interrupted run may leave them: remove them to have them written anew"
        )


def with_description(
    progress: Callable[[int, int, str], None] | None, description: str
) -> Callable[[int, int], None] | None:
    """A callback of (done, of how many) that tells another one doing what as well."""
    return None if progress is None else lambda done, total: progress(done, total, description)
