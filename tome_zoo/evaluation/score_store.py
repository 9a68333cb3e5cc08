"""The scores of every sample on disk, under one key, in shards that survive whatever stops the run.

`scores/NAME-DIGEST/` holds `key.json`, shards and, where no card lists them, the names of the classes. A shard appears
whole or not at all; whoever reads takes all shards together, each sample once. One that is damaged counts as not
written.
"""

import contextlib
import hashlib
import json
import logging
import re
import time
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tome_zoo.errors import DataError
from tome_zoo.evaluation.shard import Shard, merge_shards
from tome_zoo.system.files import atomic_write

log = logging.getLogger(__name__)

KEY = "key.json"
CLASSES = "classes.json"
TRIES = 100
LITTER = 3600.0  # s, after which half a shard belongs to a process that was killed


@dataclass(frozen=True)
class ScoreKey:
    """What scores depend on: scores of two keys never mix.

    Attributes:
        weights: Digest of the model's tensors.
        reducer: How tokens are reduced.
        protocol: "name@version".
        inputs: Digest of the architecture and the preprocessing.
        versions: Of the packages that decode and compute, each "name version".
    """

    model: str
    weights: str
    r: str
    prop_attn: bool
    reducer: str
    protocol: str
    dtype: str
    dataset: str
    split: str
    inputs: str
    versions: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Leading 12 hex digits of the SHA-256 of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Name of the folder of the scores."""
        readable = re.sub(r"[^\w.,@+=-]", "_", f"{self.model}-r{self.r}-{self.protocol}-{self.dtype}")
        return f"{readable[:100]}-{self.digest}"


class ScoreStore:
    """The scores under one key; without a folder they stay in memory.

    Attributes:
        key: What they depend on.
        folder: Where they lie; None for memory.
        done: Stamp of each sample that had scores when the store was opened.
    """

    def __init__(
        self, output: str | Path | None, key: ScoreKey, *, fresh: bool = False, flush_seconds: float = 10.0
    ) -> None:
        """Open the scores of a key, and make their folder if need be.

        Args:
            output: Folder of the evaluation; None keeps scores in memory.
            key: What they depend on.
            fresh: Forget the scores that are there.
            flush_seconds: How often to write.

        Raises:
            DataError: If the folder belongs to another key.
        """
        self.key, self.flush_seconds = key, flush_seconds
        self.folder = None if output is None else Path(output) / "scores" / key.folder
        self._unwritten = Shard()
        self._read: list[Path] = []
        self._flushed = time.monotonic()
        if self.folder is not None:
            _claim(self.folder, key)
            if fresh:
                self._read = self._files()
                self._remove_read()
        stored = self.read(with_scores=False)
        self.done = dict(zip(stored.ids, stored.stamps, strict=True))

    def add(self, batch: Shard) -> None:
        """Note a batch; it is written now and then, a batch never in parts."""
        self._unwritten.extend(batch)
        if time.monotonic() - self._flushed >= self.flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last shard."""
        self._flushed = time.monotonic()
        if self.folder is not None and self._unwritten.ids:
            latest = max((path.name[:20] for path in self._files()), default="")
            number = max(time.time_ns(), int(latest) + 1 if latest.isdecimal() else 0)  # clocks may go back
            self._unwritten.write(self.folder / f"{number:020d}-{uuid.uuid4().hex[:8]}.npz")
            self._unwritten = Shard()

    def read(self, with_scores: bool = True) -> Shard:
        """All there is, each sample once: of several scores for a sample the latest."""
        stored: list[Shard] = []
        if self.folder is not None:
            self._read, stored = read_shards(self.folder, with_scores)
        return merge_shards([self._unwritten, *stored])

    def replace(self, content: Shard) -> None:
        """Let one shard stand for those that were read last."""
        self._unwritten = content
        self.flush()
        self._remove_read()

    def write_class_names(self, names: Sequence[str]) -> None:
        """Note the names of the classes, in the order of the scores."""
        if self.folder is not None:
            with atomic_write(self.folder / CLASSES) as file:
                json.dump(list(names), file, ensure_ascii=False)

    def _files(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("*.npz"))

    def _remove_read(self) -> None:
        for path in self._read:
            path.unlink(missing_ok=True)
        self._read = []
        for path in [] if self.folder is None else self.folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LITTER:
                    path.unlink()


def read_shards(folder: Path, with_scores: bool = True) -> tuple[list[Path], list[Shard]]:
    """The files of a folder, and their shards, the last one first; one that is damaged is left out with a warning.

    Another process may put one shard in the place of several while they are read: then they are listed anew, so that no
    sample is missed between the old files and the new one.
    """
    for _ in range(TRIES):
        paths = sorted(folder.glob("*.npz"))
        found = []
        try:
            for path in reversed(paths):
                if (shard := _read_shard(path, with_scores)) is not None:
                    found.append(shard)
        except FileNotFoundError:
            continue
        return paths, found
    raise DataError(f"{folder}: its files vanish whenever they are read: end what else works there")


def _read_shard(path: Path, with_scores: bool) -> Shard | None:
    try:
        return Shard.read(path, with_scores)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s: damaged shard, its samples are scored again (%s)", path, error)
        return None


def read_scores(folder: str | Path) -> tuple[list[str], NDArray[Any]]:
    """Ids and scores `[samples, classes]` of one folder of scores, each sample once, sorted by id.

    Raises:
        DataError: If there are none.
    """
    folder = Path(folder)
    read_key(folder)
    content = merge_shards(read_shards(folder)[1])
    if not content.ids:
        raise DataError(f"expected scores in {folder}, found none")
    order = np.argsort(content.ids)
    return [content.ids[i] for i in order], np.stack([content.scores[i] for i in order])


def read_key(folder: Path) -> ScoreKey:
    """The key of a folder of scores.

    Raises:
        DataError: If there is none.
    """
    try:
        fields = json.loads((folder / KEY).read_text(encoding="utf-8"))
        return ScoreKey(**fields | {"versions": tuple(fields["versions"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{folder}: expected a folder of scores with a {KEY} ({error})") from None


def read_class_names(folder: Path) -> tuple[str, ...]:
    """The names that `write_class_names` noted; none where it did not."""
    try:
        return tuple(map(str, json.loads((folder / CLASSES).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return ()


def versions_before(output: str | Path, key: ScoreKey) -> list[str]:
    """In what versions scores differ from a key that is all the same otherwise: "torch 2.11.0 instead of 2.12.0"."""
    found: set[str] = set()
    for path in (Path(output) / "scores").glob(f"*/{KEY}"):
        try:
            other = read_key(path.parent)
        except DataError:
            continue
        if other != key and replace(other, versions=key.versions) == key:
            now, before = (dict(text.split(" ", 1) for text in versions) for versions in (key.versions, other.versions))
            names = sorted(name for name in now | before if now.get(name) != before.get(name))
            found |= {f"{name} {before.get(name, 'absent')} instead of {now.get(name, 'none')}" for name in names}
    return sorted(found)


def _claim(folder: Path, key: ScoreKey) -> None:
    """Make the folder of a key, or see that it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / KEY, json.dumps(asdict(key), indent=2).encode()
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        with atomic_write(path, "wb") as file:
            file.write(text)
        return
    if found != text:
        raise DataError(
            f"{path}: expected the key of {key.folder}, got another or a damaged one: move that folder away"
        )
