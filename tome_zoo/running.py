"""Runs a model over decoded samples at several r, batch by batch, into ledgers; keeps times."""

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from tome_zoo import metrics, schedule
from tome_zoo.cards.schema import ModelCard, ProtocolCard
from tome_zoo.data import Dataset, SampleViews
from tome_zoo.errors import TomeZooError
from tome_zoo.ledger import Ledger, Shard, stamp
from tome_zoo.macs import Macs
from tome_zoo.memory import track_peak
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Decoded = tuple[int, Tensor | None, str | None]  # index of the sample, its views or None, why there are none


@dataclass(frozen=True)
class Work:
    """What is to be scored, and how.

    Attributes:
        batch_size: Views a forward.
        workers: Processes that decode; 0 decodes in this one.
    """

    data: Dataset
    protocol: ProtocolCard
    card: ModelCard
    batch_size: int
    workers: int

    @property
    def n_views(self) -> int:
        """Views of a sample."""
        return self.protocol.temporal_views * self.protocol.spatial_views

    @property
    def samples_a_batch(self) -> int:
        """How many samples go through the model at a time; at least one."""
        return max(1, self.batch_size // self.n_views)

    def decoded(self, batches: Sequence["Batch"], pin_memory: bool) -> Iterator[list[Decoded]]:
        """The samples of each batch, decoded once, in order."""
        loader = DataLoader(
            Subset(SampleViews(self.data, self.card, self.protocol), [i for batch in batches for i in batch.indices]),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_same,
            pin_memory=pin_memory,
        )
        items = iter(loader)
        for batch in batches:
            yield list(itertools.islice(items, len(batch.indices)))


class Batch(NamedTuple):
    """Samples that are decoded together.

    Attributes:
        indices: All that some run lacks.
        lacking: Those that each run lacks.
    """

    indices: tuple[int, ...]
    lacking: tuple[tuple[int, ...], ...]


def pending(chosen: Sequence[int], size: int, done: Sequence[set[int]]) -> list[Batch]:
    """The batches that are left to do.

    Batches are fixed stretches of the chosen samples, whoever computes them and however often the work was interrupted,
    so that a sample always goes through the model in the same company: its scores come out the same to the last bit.

    Args:
        chosen: Samples of the evaluation.
        size: Samples a batch.
        done: What each run has already.
    """
    found = []
    for start in range(0, len(chosen), size):
        stretch = chosen[start : start + size]
        lacking = tuple(tuple(i for i in stretch if i not in have) for have in done)
        indices = tuple(i for i in stretch if any(i in lack for lack in lacking))
        if indices:
            found.append(Batch(indices, lacking))
    return found


@dataclass
class Run:
    """What is computed for one r, or for timm's unmerged model, which is then `model` and has no ledger."""

    r: R
    macs: Macs
    ledger: Ledger | None = None
    model: nn.Module | None = None
    timings: list[tuple[int, float]] = field(default_factory=list)
    brings: Collection[str] = ()  # samples whose scores this process has to tell

    @property
    def text(self) -> str:
        """`r` as the command line writes it."""
        return schedule.format(self.r)


@dataclass
class Seconds:
    """Where the time of a run went.

    Attributes:
        data: Waiting for decoded samples.
        model: In the model.
        rest: All else: scores, ledgers.
    """

    data: float = 0.0
    model: float = 0.0
    rest: float = 0.0


def speed(timings: Sequence[tuple[int, float]]) -> float:
    """Samples a second: the median over the batches that are as full as the fullest."""
    full = max(count for count, _ in timings)
    return full / float(np.median([seconds for count, seconds in timings if count == full]))


def run_all(
    work: Work,
    batches: Sequence[Batch],
    model: ZooModel,
    runs: Sequence[Run],
    plain: Run | None,
    progress: Progress | None,
) -> Seconds:
    """Fill the ledgers: decode each sample once and take every r in turn, first another one with each batch.

    Args:
        work: Data and protocol.
        batches: From `pending`, this process's share.
        model: On its device, in its dtype, in evaluation mode; its `r` is left at any of the schedules.
        runs: One for each r, as in `Batch.lacking`.
        plain: timm's unmerged model, timed in turn with the others; its scores are not kept.
        progress: Called with (samples done, samples to do).
    """
    parameter = next(model.parameters())
    spent = Seconds()
    begin = time.perf_counter()
    done, total = 0, sum(len(batch.indices) for batch in batches)
    warm: set[int] = set()
    decoded = work.decoded(batches, pin_memory=parameter.device.type == "cuda")
    for turn, batch in enumerate(batches):
        waiting = time.perf_counter()
        items = next(decoded)
        spent.data += time.perf_counter() - waiting
        views = {index: one.to(parameter.device, non_blocking=True) for index, one, _ in items if one is not None}
        reasons = {index: reason or "no reason given" for index, one, reason in items if one is None}
        for index, reason in reasons.items():
            log.warning("%s cannot be scored: %s", work.data.samples[index].id, reason)
        turns = list(enumerate(runs)) + ([(-1, plain)] if plain is not None and views else [])
        first = turn % len(turns)
        for which, run in turns[first:] + turns[:first]:
            wanted = tuple(views) if which < 0 else batch.lacking[which]
            good = [index for index in wanted if index in views]
            shard = Shard(failed={work.data.samples[i].id: reasons[i] for i in wanted if i in reasons})
            if good:
                x = torch.cat([views[index] for index in good]).to(parameter.dtype)
                if which not in warm:
                    _forward(run, model, x, work.batch_size)
                    warm.add(which)
                modelling = time.perf_counter()
                with track_peak(parameter.device) as peak:
                    logits, seconds = _forward(run, model, x, work.batch_size)
                spent.model += time.perf_counter() - modelling
                shard.timings, shard.peak = [(len(good), seconds)], peak.mib or 0.0
                _note(shard, work, run, good, logits)
            if run.ledger is None:
                run.timings += shard.timings
            elif shard:
                run.ledger.add(shard)
        done += len(batch.indices)
        if progress is not None:
            progress(done, total)
    spent.rest = time.perf_counter() - begin - spent.data - spent.model
    return spent


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


def _note(shard: Shard, work: Work, run: Run, indices: list[int], logits: NDArray[np.float32]) -> None:
    for index, rows in zip(indices, np.split(logits, len(indices)), strict=True):
        sample = work.data.samples[index]
        if not np.isfinite(rows).all():
            reason = f"the model gave NaN or infinite scores at r = {run.text}"
            log.warning("%s cannot be scored: %s", sample.id, reason)
            shard.failed[sample.id] = reason
            continue
        scores: NDArray[Any] = metrics.aggregate_views(rows, work.protocol.aggregate)
        shard.ids.append(sample.id)
        shard.stamps.append(stamp(sample.path))
        shard.scores.append(scores.astype(np.float32) if work.protocol.aggregate == "none" else scores)


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _same(item: Any) -> Any:
    return item
