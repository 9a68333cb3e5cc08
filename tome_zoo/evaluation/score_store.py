"""The scores of every sample on disk, under one key, in shards that survive whatever stops the run.

`scores/NAME-DIGEST/` holds `key.json` and shards. A shard appears whole or not at all; whoever reads takes all shards
together, each sample once. One that is damaged counts as not written.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tome_zoo.errors import DataError
from tome_zoo.evaluation.shard import Shard, merged

log = logging.getLogger(__name__)

LITTER = 3600.0  # s, after which half a shard belongs to a process that was killed


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
        self._taken: list[Path] = []
        self._flushed = time.monotonic()
        if self.folder is not None:
            self._claim(self.folder)
            if fresh:
                self._taken = self._files()
                self._remove_taken()
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
            latest = max((path.name[:20] for path in self._files()), default="")
            number = max(time.time_ns(), int(latest) + 1 if latest.isdecimal() else 0)  # clocks may go back
            self._new.write(self.folder / f"{number:020d}-{uuid.uuid4().hex[:8]}.npz")
            self._new = Shard()

    def read(self, with_scores: bool = True) -> Shard:
        """All there is, each sample once: of several scores for a sample the latest."""
        self._taken = self._files()
        return merged(self._shards(with_scores))

    def replace(self, content: Shard) -> None:
        """Let one shard stand for those that were read last."""
        self._new = content
        self.flush()
        self._remove_taken()

    def _shards(self, with_scores: bool) -> Iterator[Shard]:
        """The shards, the latest first."""
        yield self._new
        for path in reversed(self._taken):
            try:
                yield Shard.read(path, with_scores)
            except FileNotFoundError:  # another process has just put one shard in the place of several
                continue
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                log.warning("%s: damaged shard, its samples are scored again (%s)", path, error)

    def _files(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("*.npz"))

    def _remove_taken(self) -> None:
        for path in self._taken:
            path.unlink(missing_ok=True)
        self._taken = []
        for path in [] if self.folder is None else self.folder.glob(".*.partial"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LITTER:
                    path.unlink()

    def _claim(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path, text = folder / "key.json", json.dumps(asdict(self.key), indent=2).encode()
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            partial = path.with_name(f".key-{uuid.uuid4().hex}.partial")
            with partial.open("wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            return
        if found != text:
            raise DataError(
                f"{path}: expected the key of {self.key.folder}, got another or a damaged one: move that folder away"
            )


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
