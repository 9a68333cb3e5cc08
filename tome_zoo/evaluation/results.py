"""What an evaluation found, and its files: `results.jsonl`, one line a (model, r), and the same as `results.csv`."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tome_zoo import schedule
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.system import jsonl
from tome_zoo.system.files import atomic_write, locked, write_csv

RESULTS = "results.jsonl"
TABLE = "results.csv"
FAILED_SHOWN = 20
HEX = re.compile("[0-9a-f]*")


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
        top1_interval: Ends of the 95 % bootstrap interval over the samples, likewise `top5_interval`, `map_interval`.
        classes_scored: Classes that went into `map`.
        auc: Mean area under the ROC curve, beside `map`; `d_prime` is its sensitivity index.
        real_top1: Share of ImageNet's validation images whose best class is one of their ReaL labels, of the
            `real_scored` images that have any.
        gmacs: 10^9 multiply-accumulates of one view.
        samples_per_second: Of the model's forward alone, all views of a sample; the median over the batches, times the
            number of ranks.
        timm_samples_per_second: The same weights in timm's own unmerged model, timed in turn with this one.
        peak_memory: MiB; on a GPU what was allocated there, on a CPU what of the process lay in memory.
        n_expected: Samples that the data set lists, after `limit`.
        n_scored: Samples with a score.
        n_failed: Samples without one; `failed` says why.
        tokens: Tokens that leave each block, prefix tokens included.
        views: Views of a sample.
        reducer: How tokens are reduced.
        weights: Leading hex digits of the SHA-256 of the model's tensors.
        attention: The kernel that computed attention.
        ranks: Processes that shared the work.
        root: Folder of the data.
        seconds: What the last run of the command spent on waiting for data, in the model, and on the rest,
            all r together.
        key: Digest of all that the scores depend on; the name of their folder ends with it.
        versions: Of Python and the packages that computed this.
        commit: Of the package's checkout; None where it is installed.
        date: When the command was given.
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
    top1_interval: tuple[float, float] | None = None
    top5_interval: tuple[float, float] | None = None
    map_interval: tuple[float, float] | None = None
    classes_scored: int | None = None
    auc: float | None = None
    d_prime: float | None = None
    real_top1: float | None = None
    real_scored: int | None = None
    gmacs: float
    samples_per_second: float
    timm_samples_per_second: float | None = None
    peak_memory: float | None = None
    n_expected: int
    n_scored: int
    n_failed: int
    tokens: tuple[int, ...]
    views: int
    prop_attn: bool
    reducer: str = DEFAULT_REDUCER
    weights: str
    batch_size: int
    dtype: str
    attention: str = ""
    device: str
    ranks: int = 1
    limit: int | None = None
    root: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    key: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    date: str
    failed: tuple[Failure, ...] = ()

    @property
    def metric(self) -> str:
        """The score that counts first: "top1" or "map"."""
        return "top1" if self.map is None else "map"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of `score`."""
        return self.top1_interval if self.map is None else self.map_interval

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
        for name in ("weights", "key"):
            if not isinstance(text := data.get(name, ""), str) or not HEX.fullmatch(text):
                raise ValueError(f"field {name}: expected hex digits as a text, got {text!r}")
        result = jsonl.from_dict(cls, data | {"date": _date(data.get("date"))})
        schedule.parse(result.r)
        return result


def _date(value: Any) -> Any:
    """A date as pandas writes it, milliseconds since 1970, in words."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="seconds")
    return value


def append_results(folder: str | Path, results: Iterable[Result]) -> Path:
    """Append one line a result to `results.jsonl` of a folder, which is made if need be.

    Half a line at the end, left by a run that was killed while it wrote, is cut off first.
    """
    path = Path(folder) / RESULTS
    jsonl.append(path, (result.to_json() for result in results))
    return path


def write_table(folder: str | Path) -> Path:
    """Write `results.csv`: every line of `results.jsonl` with every field as a column."""
    path = Path(folder) / TABLE
    with locked(path), atomic_write(path) as file:
        write_csv(file, [item.name for item in fields(Result)], map(_cells, read_results(folder)))
    return path


def _cells(result: Result) -> dict[str, Any]:
    row = asdict(result)
    row["tokens"] = " ".join(map(str, result.tokens))
    row["failed"] = " ".join(failure.id for failure in result.failed)
    for name in ("top1_interval", "top5_interval", "map_interval"):
        row[name] = None if row[name] is None else " ".join(map(str, row[name]))
    for name in ("seconds", "versions"):
        row[name] = " ".join(f"{key}={value}" for key, value in row[name].items())
    return row


def read_results(path: str | Path) -> list[Result]:
    """The results of a `results.jsonl`, or of a folder that holds one.

    Raises:
        DataError: If there is no such file or a line is damaged.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    return jsonl.read(path, Result.from_json, "result", "tome-zoo eval --output")
