"""Runs a model over decoded samples at several r, batch by batch, and keeps scores, failures and times."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from tome_zoo import metrics, schedule
from tome_zoo.cards.schema import ModelCard, ProtocolCard
from tome_zoo.data import Dataset, SampleViews
from tome_zoo.errors import TomeZooError
from tome_zoo.macs import Macs
from tome_zoo.registry import ZooModel
from tome_zoo.results import Failure, Ledger
from tome_zoo.schedule import R

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Decoded = tuple[int, Tensor | None, str | None]  # index of the sample, its views or None, why there are none


@dataclass(frozen=True)
class Work:
    """What is to be scored, and how.

    Attributes:
        indices: Which samples of `data`, in order.
        batch_size: Views a forward.
        workers: Processes that decode; 0 decodes in this one.
    """

    data: Dataset
    protocol: ProtocolCard
    card: ModelCard
    indices: Sequence[int]
    batch_size: int
    workers: int

    @property
    def n_views(self) -> int:
        """Views of a sample."""
        return self.protocol.temporal_views * self.protocol.spatial_views

    def batches(self, pin_memory: bool) -> Iterator[list[Decoded]]:
        """Decoded samples in order, as many at a time as a forward takes; at least one."""
        loader = DataLoader(
            Subset(SampleViews(self.data, self.card, self.protocol), self.indices),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_same,
            pin_memory=pin_memory,
        )
        return _grouped(loader, max(1, self.batch_size // self.n_views))


@dataclass
class Run:
    """What has been computed for one r, or for timm's unmerged model, which is then `model`."""

    r: R
    macs: Macs
    model: nn.Module | None = None
    ledger: Ledger | None = None
    rows: dict[int, NDArray[Any]] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    timings: list[tuple[int, float]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """`r` as the command line writes it."""
        return schedule.format(self.r)

    def score(self, index: int, sample: str, scores: NDArray[Any]) -> None:
        """Note the scores `[classes]` of a sample."""
        self.rows[index] = scores
        if self.ledger is not None:
            self.ledger.add(sample, scores)

    def fail(self, sample: str, reason: str) -> None:
        """Note a sample that has no scores."""
        self.failed.append(Failure(sample, reason))
        if self.ledger is not None:
            self.ledger.fail(self.failed[-1])

    def speed(self) -> float:
        """Samples a second: the median over the batches that are as full as the fullest."""
        full = max(count for count, _ in self.timings)
        return full / float(np.median([seconds for count, seconds in self.timings if count == full]))


def run_all(work: Work, model: ZooModel, runs: list[Run], plain: Run | None, progress: Progress | None) -> None:
    """Fill the runs: decode each sample once and take every r in turn, first another one with each batch.

    Args:
        work: Samples and protocol.
        model: On its device, in its dtype, in evaluation mode; its `r` is left at any of the schedules.
        runs: One for each r.
        plain: timm's unmerged model, timed in turn with the others; its scores are not kept.
        progress: Called with (samples done, samples expected).
    """
    parameter = next(model.parameters())
    variants = [*runs, plain] if plain is not None else runs
    done, warm = 0, False
    for turn, batch in enumerate(work.batches(pin_memory=parameter.device.type == "cuda")):
        done += len(batch)
        good = [(index, views) for index, views, _ in batch if views is not None]
        for index, views, error in batch:
            if views is None:
                _fail(runs, work.data.samples[index].id, error or "no reason given")
        if good:
            views = torch.cat([item for _, item in good]).to(parameter.device, parameter.dtype)
            if not warm:
                for run in variants:
                    _forward(run, model, views, work.batch_size)
                warm = True
            first = turn % len(variants)
            for run in variants[first:] + variants[:first]:
                logits, seconds = _forward(run, model, views, work.batch_size)
                run.timings.append((len(good), seconds))
                if run is not plain:
                    _note(run, work, [index for index, _ in good], logits)
        if progress is not None:
            progress(done, len(work.indices))


def _forward(run: Run, model: ZooModel, views: Tensor, batch_size: int) -> tuple[NDArray[np.float32], float]:
    """Logits of all views, float32 `[views, classes]`, and the seconds that the forward took."""
    network: nn.Module = model if run.model is None else run.model
    if run.model is None:
        model.r = run.r
    try:
        with torch.inference_mode():
            _synchronize(views.device)
            begin = time.perf_counter()
            logits = torch.cat([network(part) for part in views.split(batch_size)])
            _synchronize(views.device)
            seconds = time.perf_counter() - begin
    except torch.OutOfMemoryError:
        raise TomeZooError(f"out of memory on {views.device} at {batch_size} views a batch: lower batch_size") from None
    return logits.float().cpu().numpy(), seconds


def _note(run: Run, work: Work, indices: list[int], logits: NDArray[np.float32]) -> None:
    for index, rows in zip(indices, np.split(logits, len(indices)), strict=True):
        sample = work.data.samples[index].id
        if np.isfinite(rows).all():
            run.score(index, sample, metrics.aggregate_views(rows, work.protocol.aggregate))
        else:
            _fail([run], sample, f"the model gave NaN or infinite scores at r = {run.text}")


def _fail(runs: Iterable[Run], sample: str, reason: str) -> None:
    log.warning("%s cannot be scored: %s", sample, reason)
    for run in runs:
        run.fail(sample, reason)


def _grouped(items: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _same(item: Any) -> Any:
    return item
