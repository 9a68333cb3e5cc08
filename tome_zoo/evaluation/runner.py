"""Runs a model over decoded samples at several r, batch by batch, into ledgers; keeps times."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tome_zoo import schedule
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.batches import Batch, Work, pending
from tome_zoo.evaluation.score_store import Ledger
from tome_zoo.evaluation.shard import Shard, Stamp, Timing, stamp
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed
from tome_zoo.system.memory import track_peak
from tome_zoo.transformer import patching
from tome_zoo.transformer.macs import Macs

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass
class Run:
    """What is computed for one r, or for timm's unmerged model, which is then `model` and has no ledger."""

    r: R
    macs: Macs
    ledger: Ledger | None = None
    model: nn.Module | None = None
    where: str = ""  # on what it is computed, as timings state it
    timings: list[Timing] = field(default_factory=list)
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


def speed(timings: Sequence[Timing]) -> float:
    """Samples a second: the median over the batches that are as full as the fullest."""
    full = max(timing.samples for timing in timings)
    return full / float(np.median([timing.seconds for timing in timings if timing.samples == full]))


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
        views = {
            item.number: item.views.to(parameter.device, non_blocking=True) for item in items if item.views is not None
        }
        reasons = {item.number: item.reason or "no reason given" for item in items if item.views is None}
        stamps = {item.number: item.stamp for item in items}
        for index, reason in reasons.items():
            log.warning("%s cannot be scored: %s", work.data.samples[index].id, reason)
        turns = list(enumerate(runs)) + ([(-1, plain)] if plain is not None and views else [])
        first = turn % len(turns)
        for which, run in turns[first:] + turns[:first]:
            wanted = tuple(views) if which < 0 else batch.lacking[which]
            here = [index for index in wanted if index in views]
            shard = Shard(failed={work.data.samples[i].id: reasons[i] for i in wanted if i in reasons})
            if here:
                x = torch.cat([views[index] for index in here]).to(parameter.dtype)
                if which not in warm:
                    _forward(run, model, x, work.batch_size)
                    warm.add(which)
                modelling = time.perf_counter()
                with track_peak(parameter.device) as peak:
                    logits, seconds = _forward(run, model, x, work.batch_size)
                spent.model += time.perf_counter() - modelling
                shard.timings.append(Timing(len(here), seconds, peak.mib or 0.0, run.where))
                _note(shard, work, run, [(index, stamps[index]) for index in here], logits)
            if run.ledger is None:
                run.timings += shard.timings
            elif shard:
                run.ledger.add(shard)
        done += len(batch.indices)
        if progress is not None:
            progress(done, total)
    spent.rest = time.perf_counter() - begin - spent.data - spent.model
    if batches:
        log.info("%.1f s waiting for data, %.1f s in the model, %.1f s else", spent.data, spent.model, spent.rest)
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


def _note(shard: Shard, work: Work, run: Run, good: list[tuple[int, Stamp]], logits: NDArray[np.float32]) -> None:
    for (index, stamp_read), rows in zip(good, np.split(logits, len(good)), strict=True):
        sample = work.data.samples[index].id
        if not np.isfinite(rows).all():
            reason = f"the model gave NaN or infinite scores at r = {run.text}"
            log.warning("%s cannot be scored: %s", sample, reason)
            shard.failed[sample] = reason
            continue
        scores: NDArray[Any] = metrics.aggregate_views(rows, work.protocol.aggregate)
        shard.ids.append(sample)
        shard.stamps.append(stamp_read)
        shard.scores.append(scores.astype(np.float32) if work.protocol.aggregate == "none" else scores)


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@dataclass(frozen=True)
class Plan:
    """What is to be done, all checked.

    Attributes:
        chosen: Indices of the samples.
        facts: What every result states.
        time_timm: Also time timm's unmerged model.
    """

    work: Work
    chosen: Sequence[int]
    facts: dict[str, Any]
    time_timm: bool


def run_share(
    plan: Plan, model: ZooModel, runs: list[Run], here: distributed.Place, progress: Progress | None
) -> dict[str, Any]:
    """This rank's share of what is left to do, into the ledgers; what results may state of it."""
    done = _done(plan, runs)
    everyones = distributed.everyones(done)
    union = [set[int]().union(*(theirs[number] for theirs in everyones)) for number in range(len(runs))]
    batches = pending(plan.chosen, plan.work.samples_a_batch, union)[here.rank :: here.world]
    log.info("%s: %d batches of %d samples to do", plan.facts["model"], len(batches), plan.work.samples_a_batch)
    plain = None
    if plan.time_timm:
        plain = Run(0, runs[0].macs, model=patching.unpatch(patching.share_parameters(model)))
    try:
        spent = run_all(plan.work, batches, model, runs, plain, progress)
    finally:  # whatever stops the run, Ctrl-C included, keeps what was computed
        for run in runs:
            ledger_of(run).flush()
    names = [sample.id for sample in plan.work.data.samples]
    for number, run in enumerate(runs):
        others = set[int]().union(*(theirs[number] for theirs in everyones[: here.rank]))
        run.brings = ledger_of(run).added | {names[i] for i in done[number] - others}
    found: dict[str, Any] = {"seconds": {name: round(value, 3) for name, value in asdict(spent).items()}}
    if plain is not None and plain.timings:
        found["timm_samples_per_second"] = speed(plain.timings) * here.world
    return found


def _done(plan: Plan, runs: Sequence[Run]) -> list[set[int]]:
    """For each run the chosen samples that have scores, of the files that lie there now."""
    samples, now = plan.work.data.samples, dict[int, Stamp]()
    done = []
    for run in runs:
        have = ledger_of(run).done
        scored = [i for i in plan.chosen if samples[i].id in have]
        now |= {i: stamp(samples[i].path) for i in scored if i not in now}
        done.append({i for i in scored if have[samples[i].id] == now[i]})
    return done


def ledger_of(run: Run) -> Ledger:
    """The ledger of a run of `evaluate`."""
    if run.ledger is None:
        raise AssertionError("a run of evaluate has a ledger")
    return run.ledger
