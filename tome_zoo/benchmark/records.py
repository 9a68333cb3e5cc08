"""What a benchmark found: a record for each model, setting and r, and its files `bench.jsonl` and `bench.csv`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import timm
import torch

import tome_zoo
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.system import devices, jsonl
from tome_zoo.system.files import atomic_write, locked, write_csv
from tome_zoo.system.provenance import now

JSONL = "bench.jsonl"
CSV = "bench.csv"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One form of a model at one batch size and dtype; times are medians over rounds.

    Attributes:
        model: Name of the card, or timm's.
        source: "tome-zoo", "timm" or "torchvision": whose name it is.
        variant: "unmerged" is timm's own model, with which the others are compared; "merging" is ours, "explicit" is
            merging with every step written out, "dropping" the least that any reducer does.
        r: Merging schedule as the command line writes it; None for "unmerged".
        reducer: How tokens are reduced.
        overrides: Architecture fields that differ from the card's.
        input: Shape of one input: channels, frames of a clip, height, width.
        parameters: Of the model, in units of one.
        mode: "inference", "training" (forward, loss and backward) or "training, checkpointing".
        compile: Mode of compilation; None runs eagerly.
        status: "ok", "out of memory", "refused" or "failed"; `reason` says why.
        gmacs: 10^9 multiply-accumulates of one input, forward; `macs_counter` says who counted.
        tokens_in: Tokens before the first block, prefix included; `tokens_out` those behind the last.
        latency_ms: Milliseconds of a batch; its spread, as that of `speedup`, is interquartile range over median.
        samples_per_second: Batch size over latency.
        rounds: Timed calls.
        peak_mib: Peak memory of a call in MiB: of torch's allocator on CUDA, of the whole process on a CPU.
        first_call_seconds: The very first call, in which compilation happens; None when eager.
        speedup: Time of "unmerged" over this one's, the median over the rounds.
        limit: Multiply-accumulates at r = 0 over those at r: the speed-up if time followed the arithmetic.
        of_limit: `speedup` / `limit`.
        reduction_share: Part of the time that reducing takes: what is spent beyond dropping the last tokens unseen.
        score: Accuracy at this r that the card knows, in per cent; `metric` "top1" or "map", `score_source` "reported"
            or "measured". The benchmark's own weights are random.
        attention: The attention kernel of inference.
        fast_path: Of a merging model, what is read and what is called as a module, and why.
        device: With its name; `threads` are those of a CPU.
    """

    model: str
    source: str
    variant: str
    r: str | None
    reducer: str = DEFAULT_REDUCER
    overrides: dict[str, Any]
    input: tuple[int, ...] | None = None
    parameters: int | None = None
    batch_size: int
    dtype: str
    mode: str
    compile: str | None
    status: str = "ok"
    reason: str = ""
    gmacs: float | None = None
    macs_counter: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    latency_ms: float | None = None
    latency_spread: float | None = None
    samples_per_second: float | None = None
    rounds: int | None = None
    peak_mib: float | None = None
    first_call_seconds: float | None = None
    speedup: float | None = None
    speedup_spread: float | None = None
    limit: float | None = None
    of_limit: float | None = None
    reduction_share: float | None = None
    score: float | None = None
    metric: str | None = None
    score_source: str | None = None
    attention: str | None = None
    fast_path: str | None = None
    device: str
    threads: int
    torch: str
    timm: str
    version: str
    date: str

    @property
    def ok(self) -> bool:
        """Whether it has times."""
        return self.status == "ok"

    @property
    def title(self) -> str:
        """The model and what differs from its card."""
        return " ".join([self.model, *(f"{key}={_plain(value)}" for key, value in self.overrides.items())])

    @property
    def setting(self) -> str:
        """What a figure must have in common to be comparable: batch size, dtype, what is done, how it is compiled."""
        compiled = [] if self.compile is None else [f"compiled ({self.compile})"]
        mode = [] if self.mode == "inference" else [self.mode]
        return ", ".join([f"batch {self.batch_size}", self.dtype, *mode, *compiled])

    def to_json(self) -> dict[str, Any]:
        """A line of `bench.jsonl`: every key, null where a figure does not exist."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Record":
        """The record that `to_json` wrote; keys of later versions are left out."""
        return jsonl.from_dict(cls, data)


def environment(device: torch.device) -> dict[str, Any]:
    """Where and with what is timed: the fields `device`, `threads`, `torch`, `timm`, `version` and `date`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else devices.processor_name()
    return {
        "device": f"{device.type} ({name})" if device.type in ("cpu", "cuda") else str(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "version": tome_zoo.__version__,
        "date": now(),
    }


def append(folder: str | Path, records: Iterable[Record]) -> Path:
    """Append the records to `bench.jsonl` of a folder, which is made if need be, and write `bench.csv` of all in it.

    Raises:
        DataError: If a line of an earlier run is damaged.
    """
    path = Path(folder) / JSONL
    jsonl.append(path, (record.to_json() for record in records))
    table = path.with_name(CSV)
    with locked(table), atomic_write(table) as file:
        write_csv(file, [field.name for field in fields(Record)], map(_cells, read(path)))
    return path


def read(path: str | Path) -> list[Record]:
    """The records of a `bench.jsonl`, or of a folder that holds one.

    Raises:
        DataError: If there is no such file or a line is damaged.
    """
    path = Path(path)
    path = path / JSONL if path.is_dir() else path
    return jsonl.read(path, Record.from_json, "record", "tome-zoo bench --output")


def _cells(record: Record) -> dict[str, Any]:
    overrides = " ".join(f"{key}={_plain(value)}" for key, value in record.overrides.items())
    return {**record.to_json(), "overrides": overrides, "input": _plain(record.input or ())}


def _plain(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
