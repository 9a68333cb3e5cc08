"""What an evaluation found, and its files: `results.jsonl`, one line a (model, r), and the scores of every sample."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tome_zoo.errors import DataError

RESULTS = "results.jsonl"
FAILED_SHOWN = 20


class Failure(NamedTuple):
    """A sample that has no score, and why."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model on one data set by one protocol at one r. Scores are in per cent.

    Attributes:
        model: Name of the model card.
        r: Merging schedule as the command line writes it: "8", "8:-1", "9,0,4".
        protocol: "name@version".
        top1: Share of samples whose class scored best; None where the metric is mAP, likewise `top5`.
        map: Mean average precision over the classes that have positives; None where the metric is top-1.
        classes_scored: Classes that went into `map`.
        gmacs: 10^9 multiply-accumulates of one view.
        tokens: Tokens that leave each block, prefix tokens included.
        samples_per_second: Of the model's forward alone, all views of a sample; the median over the batches.
        timm_samples_per_second: The same weights in timm's own unmerged model, timed in turn with this one.
        n_expected: Samples that the data set lists, after `limit`.
        n_scored: Samples with a score.
        n_failed: Samples without one; `failed` says why.
        complete: Whether the run reached the end: n_scored + n_failed == n_expected.
        weights: Leading hex digits of the SHA-256 of the model's tensors.
        views: Views of a sample.
    """

    model: str
    modality: str
    dataset: str
    split: str
    r: str
    protocol: str
    top1: float | None = None
    top5: float | None = None
    map: float | None = None
    classes_scored: int | None = None
    gmacs: float
    samples_per_second: float
    timm_samples_per_second: float | None = None
    n_expected: int
    n_scored: int
    n_failed: int
    complete: bool
    tokens: tuple[int, ...]
    views: int
    prop_attn: bool
    weights: str
    batch_size: int
    dtype: str
    device: str
    limit: int | None = None
    version: str
    torch: str
    timm: str
    date: str
    failed: tuple[Failure, ...] = ()

    @property
    def metric(self) -> str:
        """The score that counts first: "top1" or "map"."""
        return "top1" if self.map is None else "map"

    @property
    def score(self) -> float:
        """`top1` or `map`, in per cent."""
        value = self.top1 if self.map is None else self.map
        return float("nan") if value is None else value

    def to_json(self) -> dict[str, Any]:
        """What a line of `results.jsonl` holds: no key without a value, and the first 20 failed samples."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        data["tokens"] = list(self.tokens)
        data["failed"] = [failure._asdict() for failure in self.failed[:FAILED_SHOWN]]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Result":
        """The result that `to_json` wrote; keys of later versions are left out."""
        known = {field.name for field in fields(cls)}
        given = {key: value for key, value in data.items() if key in known}
        given["tokens"] = tuple(given.get("tokens", ()))
        given["failed"] = tuple(Failure(**failure) for failure in given.get("failed", ()))
        return cls(**given)


def append_results(folder: str | Path, results: Iterable[Result]) -> Path:
    """Append one line a result to `results.jsonl` of a folder, which is made if need be."""
    path = Path(folder) / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(result.to_json(), allow_nan=False) + "\n" for result in results)
    with path.open("a", encoding="utf-8") as file:
        file.write(lines)
    return path


def read_results(path: str | Path) -> list[Result]:
    """The results of a `results.jsonl`, or of a folder that holds one.

    Raises:
        DataError: If there is no such file or a line is damaged.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"expected results at {path}: {error.strerror}; `tome-zoo eval --output` writes them") from None
    results = []
    for number, line in enumerate(lines, start=1):
        try:
            results.append(Result.from_json(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: not a result ({error}); remove the line") from None
    return results


class Ledger:
    """The scores of every sample on disk, written in shards as they come, so that an interrupted run keeps them.

    `scores/KEY/00000.npz` holds `ids` and `scores` `[samples, classes]`; `scores/KEY/failed.jsonl` the samples without.
    """

    SHARD_SAMPLES = 4096
    SHARD_SECONDS = 30.0

    def __init__(self, folder: str | Path, key: Sequence[str]) -> None:
        """Begin anew: shards of an earlier run with the same key are removed.

        Args:
            folder: Output folder of the evaluation.
            key: What the scores depend on; becomes the name of their folder.
        """
        self.folder = Path(folder) / "scores" / re.sub(r"[^\w.,@+=-]", "_", "-".join(key))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._rows: list[tuple[str, NDArray[Any]]] = []
        self._shards = 0
        self._flushed = time.monotonic()

    def add(self, sample: str, scores: NDArray[Any]) -> None:
        """Note the scores of one sample, `[classes]`."""
        self._rows.append((sample, scores))
        if len(self._rows) >= self.SHARD_SAMPLES or time.monotonic() - self._flushed > self.SHARD_SECONDS:
            self.flush()

    def fail(self, failure: Failure) -> None:
        """Note a sample that has no scores."""
        with (self.folder / "failed.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(failure._asdict()) + "\n")

    def flush(self) -> None:
        """Write what has come since the last shard; a reader never sees half a shard."""
        self._flushed = time.monotonic()
        if not self._rows:
            return
        ids, scores = zip(*self._rows, strict=True)
        target = self.folder / f"{self._shards:05d}.npz"
        partial = target.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, ids=np.array(ids), scores=np.stack(scores))
        os.replace(partial, target)
        self._rows = []
        self._shards += 1


def read_scores(folder: str | Path) -> tuple[list[str], NDArray[Any]]:
    """Ids and scores `[samples, classes]` of a ledger's folder, in the order in which they were computed.

    Raises:
        DataError: If the folder holds no shard.
    """
    shards = [np.load(path, allow_pickle=False) for path in sorted(Path(folder).glob("*.npz"))]
    if not shards:
        raise DataError(f"expected shards of scores (*.npz) in {folder}, found none")
    return [str(i) for shard in shards for i in shard["ids"]], np.concatenate([shard["scores"] for shard in shards])
