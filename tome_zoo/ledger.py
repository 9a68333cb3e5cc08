"""The scores of every sample on disk, under one key, in shards that survive whatever stops the run.

`scores/NAME-DIGEST/` holds `key.json` and shards. A shard appears whole or not at all; whoever reads takes all shards
together, each sample once. One that is damaged counts as not written.
"""

import hashlib
import json
import logging
import os
import re
import time
import uuid
import zipfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tome_zoo.errors import DataError

log = logging.getLogger(__name__)

Stamp = tuple[int, int]
"""Size and time of change (ns) of a file; of one that is not there (-1, -1)."""


@dataclass(frozen=True)
class Key:
    """What scores depend on: scores of two keys never mix.

    Attributes:
        weights: Digest of the model's tensors.
        protocol: "name@version".
        root: Folder of the data.
        inputs: Digest of the architecture and the preprocessing.
    """

    model: str
    weights: str
    r: str
    prop_attn: bool
    protocol: str
    dtype: str
    dataset: str
    split: str
    root: str
    inputs: str

    @property
    def digest(self) -> str:
        """Leading 12 hex digits of the SHA-256 of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Name of the folder of the scores."""
        readable = re.sub(r"[^\w.,@+=-]", "_", f"{self.model}-r{self.r}-{self.protocol}-{self.dtype}")
        return f"{readable[:100]}-{self.digest}"


@dataclass
class Shard:
    """Scores of some samples, with what else is known of them.

    Attributes:
        ids: Of the samples that have scores.
        stamps: Of their files.
        scores: One row `[classes]` each.
        failed: Why others have none, by id.
        timings: Samples and seconds of the model for each batch.
        peak: Peak memory in MiB of those batches; 0 where it is not known.
    """

    ids: list[str] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    scores: list[NDArray[Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    timings: list[tuple[int, float]] = field(default_factory=list)
    peak: float = 0.0

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.ids or self.failed)

    def take(self, other: "Shard", known: Iterable[str] = ()) -> None:
        """Add what another one holds, but no sample of `known`, whose later scores count; a score mends a failure."""
        known = set(known)
        for sample, stamp, row in zip(other.ids, other.stamps, other.scores, strict=True):
            if sample not in known:
                self.ids.append(sample)
                self.stamps.append(stamp)
                self.scores.append(row)
        self.failed.update(other.failed)
        self.timings += other.timings
        self.peak = max(self.peak, other.peak)

    def only(self, wanted: Collection[str]) -> "Shard":
        """The same with the scores of these samples alone."""
        rows = [row for row, sample in enumerate(self.ids) if sample in wanted]
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            stamps=[self.stamps[row] for row in rows],
            scores=[self.scores[row] for row in rows],
        )

    def write(self, path: Path) -> None:
        """Write it to a file, which appears whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                ids=np.array(self.ids, dtype=np.str_),
                stamps=np.array(self.stamps, dtype=np.int64).reshape(-1, 2),
                scores=np.stack(self.scores) if self.scores else np.empty((0, 0)),
                failed=np.array(list(self.failed), dtype=np.str_),
                reasons=np.array(list(self.failed.values()), dtype=np.str_),
                timings=np.array(self.timings, dtype=np.float64).reshape(-1, 2),
                peak=np.array(self.peak),
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    @classmethod
    def read(cls, path: Path, with_scores: bool = True) -> "Shard":
        """The shard of a file; raises OSError, ValueError, KeyError or BadZipFile where it is damaged."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            ids = arrays["ids"].tolist()
            return cls(
                ids=ids,
                stamps=[(int(size), int(changed)) for size, changed in arrays["stamps"]],
                scores=list(arrays["scores"]) if with_scores else [np.empty(0)] * len(ids),
                failed=dict(zip(arrays["failed"].tolist(), arrays["reasons"].tolist(), strict=True)),
                timings=[(int(count), float(seconds)) for count, seconds in arrays["timings"]],
                peak=float(arrays["peak"]),
            )


class Ledger:
    """The scores under one key; without a folder they stay in memory.

    Attributes:
        key: What they depend on.
        folder: Where they lie; None for memory.
        done: Stamp of each sample that had scores when the ledger was opened.
        failed: Why samples had none then.
        added: Samples whose scores came since.
    """

    def __init__(self, output: str | Path | None, key: Key, *, fresh: bool = False, seconds: float = 10.0) -> None:
        """Open the scores of a key, and make their folder if need be.

        Args:
            output: Folder of the evaluation; None keeps scores in memory.
            key: What they depend on.
            fresh: Forget the scores that are there.
            seconds: How often to write.

        Raises:
            DataError: If the folder belongs to another key.
        """
        self.key, self.seconds = key, seconds
        self.folder = None if output is None else Path(output) / "scores" / key.folder
        self.added: set[str] = set()
        self._new = Shard()
        self._flushed = time.monotonic()
        if self.folder is not None:
            self._claim(self.folder)
            if fresh:
                self._remove(self._files())
        old = self.read(with_scores=False)
        self.done = dict(zip(old.ids, old.stamps, strict=True))
        self.failed = {sample: reason for sample, reason in old.failed.items() if sample not in self.done}

    def add(self, batch: Shard) -> None:
        """Note a batch; it is written now and then, a batch never in parts."""
        self._new.take(batch)
        self.added.update(batch.ids)
        if time.monotonic() - self._flushed >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last shard."""
        self._flushed = time.monotonic()
        if self.folder is not None and self._new:
            self._new.write(self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.npz")
            self._new = Shard()

    def read(self, with_scores: bool = True) -> Shard:
        """All there is, each sample once: of several scores for a sample the latest."""
        merged = Shard()
        merged.take(self._new)
        for path in reversed(self._files()):
            try:
                shard = Shard.read(path, with_scores)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                log.warning("%s: damaged shard, its samples are scored again (%s)", path, error)
                continue
            shard.failed = {key: reason for key, reason in shard.failed.items() if key not in merged.failed}
            merged.take(shard, known=merged.ids)
        return merged

    def replace(self, content: Shard) -> None:
        """Let one shard stand for all that are there."""
        before = self._files()
        self._new = content
        self.flush()
        self._remove(before)

    def _files(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("*.npz"))

    def _claim(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path, text = folder / "key.json", json.dumps(asdict(self.key), indent=2)
        try:
            found = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            partial = path.with_name(f".key-{uuid.uuid4().hex}.partial")
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
            return
        if found != text:
            raise DataError(f"{path}: expected the key of {self.key.folder}, got another: move that folder away")

    def _remove(self, files: Sequence[Path]) -> None:
        for path in files:
            path.unlink(missing_ok=True)


def stamp(path: Path) -> Stamp:
    """Size and time of change of a file, by which one that was replaced is told."""
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def read_scores(folder: str | Path) -> tuple[list[str], NDArray[Any]]:
    """Ids and scores `[samples, classes]` of one folder of scores, each sample once, sorted by id.

    Raises:
        DataError: If there are none.
    """
    folder = Path(folder)
    try:
        key = Key(**json.loads((folder / "key.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: expected a folder of scores with a key.json ({error})") from None
    content = _at(folder, key).read()
    if not content.ids:
        raise DataError(f"expected scores in {folder}, found none")
    order = np.argsort(content.ids)
    return [content.ids[i] for i in order], np.stack([content.scores[i] for i in order])


def _at(folder: Path, key: Key) -> Ledger:
    ledger = Ledger(None, key)
    ledger.folder = folder
    return ledger
