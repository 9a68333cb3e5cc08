"""Files of features, npz or parquet; and plain folders of files to make features of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tome_zoo.cards.schema import DATASET_FORMATS, DatasetCard
from tome_zoo.data.dataset import Dataset, Sample
from tome_zoo.data.formats.files import IMAGES, SOUNDS, VIDEOS, files
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.modalities.inputs import Modality
from tome_zoo.system.files import atomic_write

ENDINGS = {"image": IMAGES, "video": VIDEOS, "audio": SOUNDS}


def check_ending(path: str | Path) -> None:
    """Refuse a file that is neither .npz nor .parquet, or parquet where pyarrow is missing, before work is done.

    Raises:
        TomeZooError: If it is so.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".npz", ".parquet"):
        raise TomeZooError(f"{path}: expected a file that ends in .npz or .parquet")
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise TomeZooError(f"{path}: parquet needs pyarrow: pip install pyarrow, or write .npz") from None


def write_features(
    path: str | Path, ids: Sequence[str], features: NDArray[Any], targets: NDArray[Any] | None, labels: Sequence[str]
) -> None:
    """Write features; the file appears whole or not at all.

    npz has the arrays `ids`, `features` and, where they are known, `targets` and `labels`; parquet the columns `id`,
    `features` (lists; tokens flattened) and `target` (a class, or a list of them).
    """
    if Path(path).suffix.lower() == ".npz":
        arrays: dict[str, Any] = {"ids": np.array(ids, dtype=np.str_), "features": features}
        if targets is not None:
            arrays |= {"targets": targets, "labels": np.array(labels, dtype=np.str_)}
        with atomic_write(path, "wb") as file:
            np.savez(file, **arrays)
        return
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {"id": list(ids), "features": list(features.reshape(len(features), -1))}
    if targets is not None:
        columns["target"] = targets if targets.ndim == 1 else [np.flatnonzero(row) for row in targets]
    with atomic_write(path, "wb") as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def files_of_folder(folder: Path, modality: Modality) -> Dataset:
    """All files of a modality in a folder and below, without targets; their ids are their paths.

    Raises:
        DataError: If there are none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of {modality} files, or name its data set with --dataset")
    names = list(files(folder, ENDINGS[modality]))
    if not names:
        raise DataError(f"{folder}: no {modality} file lies there; expected {', '.join(sorted(ENDINGS[modality]))}")
    card = DatasetCard(
        name="files",
        modality=modality,
        title="Files",
        layout=DATASET_FORMATS[modality][:1],
        splits={"all": (".",)},
        num_classes=1,
        license="",
        origin="",
        obtain="",
    )
    samples = tuple(Sample(name, folder / name, 0) for name in names)
    return Dataset(card=card, root=folder, split="all", samples=samples, labels=())
