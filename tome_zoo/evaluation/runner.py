"""Runs a model over decoded samples at several r, batch by batch, into score stores; keeps times."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tome_zoo import schedule
from tome_zoo.data.decode import Decoded
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.batches import Batch, decode_batches
from tome_zoo.evaluation.conditions import Conditions, Timing
from tome_zoo.evaluation.plan import Plan
from tome_zoo.evaluation.score_store import ScoreStore
from tome_zoo.evaluation.shard import Shard
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed
from tome_zoo.system.memory import is_out_of_memory, track_peak
from tome_zoo.transformer import patching
from tome_zoo.transformer.macs import Macs

log = logging.getLogger(__name__)

ProgressCallback = Callable[[int, int], None]
"""Called with (samples done, samples to do)."""


@dataclass(frozen=True)
class Run:
    """One r of an evaluation, what it costs, and where its scores go."""

    r: R
    macs: Macs
    store: ScoreStore

    @property
    def text(self) -> str:
        """`r` as the command line writes it."""
        return schedule.format(self.r)


@dataclass(frozen=True)
class Seconds:
    """Where the time went.

    Attributes:
        data: Waiting for decoded samples.
        model: In the model.
        rest: All else: scores, files.
    """

    data: float
    model: float
    rest: float


@dataclass(frozen=True)
class Share:
    """What a process has done of an evaluation.

    Attributes:
        scored: Ids of the samples that it gave scores to, at each r.
        failed: Why samples have none, by id, at each r.
        timm: What the batches took in timm's unmerged model.
    """

    scored: tuple[set[str], ...]
    failed: tuple[dict[str, str], ...]
    timm: tuple[Timing, ...]
    seconds: Seconds


def samples_per_second(timings: Sequence[Timing]) -> float:
    """Samples a second: the median over the batches that are as full as the fullest."""
    full = max(timing.samples for timing in timings)
    return full / float(np.median([timing.seconds for timing in timings if timing.samples == full]))


@dataclass
class _Lane:
    """One r, or timm's unmerged model, as the batches go by."""

    network: nn.Module
    conditions: Conditions
    run: Run | None
    warm: bool = False
    scored: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)


def run_batches(
    plan: Plan, model: ZooModel, runs: Sequence[Run], batches: Sequence[Batch], progress: ProgressCallback | None = None
) -> Share:
    """Score batches: each sample is decoded once and goes through every r, first another one with each batch.

    Whatever stops it, Ctrl-C included, what was computed is in the stores.

    Args:
        plan: The evaluation.
        model: On its device, in its dtype, in evaluation mode; its `r` is left at any of the schedules.
        runs: One for each r, as in `Batch.lacking`.
        batches: This process's share.
        progress: Told after each batch.
    """
    lanes = [_Lane(model, plan.conditions(run.r), run) for run in runs]
    timm_lane = _timm_lane(plan, model) if plan.time_timm else None
    begin = time.perf_counter()
    in_data, in_model, done = 0.0, 0.0, 0
    total = sum(len(batch.indices) for batch in batches)
    decoded = decode_batches(plan, batches)
    try:
        for turn, batch in enumerate(batches):
            waiting = time.perf_counter()
            samples = next(decoded)
            in_data += time.perf_counter() - waiting
            tasks = list(zip(lanes, batch.lacking, strict=True))
            if timm_lane is not None:
                tasks.append((timm_lane, batch.indices))
            first = turn % len(tasks)
            in_model += _run_batch(plan, tasks[first:] + tasks[:first], samples)
            done += len(batch.indices)
            if progress is not None:
                progress(done, total)
    finally:
        for run in runs:
            run.store.flush()
    seconds = Seconds(in_data, in_model, time.perf_counter() - begin - in_data - in_model)
    if batches:
        log.info("%.1f s waiting for data, %.1f s in the model, %.1f s else", seconds.data, seconds.model, seconds.rest)
    return Share(
        scored=tuple(lane.scored for lane in lanes),
        failed=tuple(lane.failed for lane in lanes),
        timm=() if timm_lane is None else tuple(timm_lane.timings),
        seconds=seconds,
    )


def _timm_lane(plan: Plan, model: ZooModel) -> _Lane:
    return _Lane(patching.unpatch(patching.share_parameters(model)), plan.conditions(0), None)


def _run_batch(plan: Plan, tasks: Sequence[tuple[_Lane, Sequence[int]]], samples: Sequence[Decoded]) -> float:
    """Take decoded samples through each lane that lacks them; returns the seconds in the model."""
    names = [sample.id for sample in plan.data.samples]
    on_device = {
        item.index: item.views.to(plan.device, non_blocking=True) for item in samples if item.views is not None
    }
    reasons = {item.index: item.reason or "no reason given" for item in samples if item.views is None}
    stamps = {item.index: item.stamp for item in samples}
    for index, reason in reasons.items():
        log.warning("%s cannot be scored: %s", names[index], reason)
    spent = 0.0
    for lane, lacking in tasks:
        lane.failed |= {names[index]: reasons[index] for index in lacking if index in reasons}
        good = [index for index in lacking if index in on_device]
        if not good:
            continue
        views = torch.cat([on_device[index] for index in good]).to(getattr(torch, plan.dtype))
        if not lane.warm:
            _forward(lane, views)
            lane.warm = True
        begin = time.perf_counter()
        with track_peak(plan.device) as peak:
            logits, seconds = _forward(lane, views)
        spent += time.perf_counter() - begin
        distributed.report_work()
        timing = Timing(names[good[0]], len(good), seconds, peak.mib or 0.0, lane.conditions)
        if lane.run is None:
            lane.timings.append(timing)
            continue
        shard = Shard(timings=[timing])
        for index, rows in zip(good, np.split(logits, len(good)), strict=True):
            if np.isfinite(rows).all():
                shard.append(names[index], stamps[index], _scores(rows, plan))
                continue
            reason = f"the model gave NaN or infinite scores at r = {lane.run.text}"
            log.warning("%s cannot be scored: %s", names[index], reason)
            lane.failed[names[index]] = reason
        lane.scored.update(shard.ids)
        lane.run.store.add(shard)
    return spent


def _scores(rows: NDArray[np.float32], plan: Plan) -> NDArray[np.floating]:
    """Scores of a sample, `[classes]`, from the logits of its views."""
    scores = metrics.aggregate_views(rows, plan.protocol.aggregate)
    return scores.astype(np.float32) if plan.protocol.aggregate == "none" else scores


def _forward(lane: _Lane, views: Tensor) -> tuple[NDArray[np.float32], float]:
    """Logits of all views, float32 `[views, classes]`, and the seconds that the forward took.

    Where memory does not suffice, the lane goes on with half the views a forward.

    Raises:
        TomeZooError: If it does not suffice for a single view.
    """
    if lane.run is not None:
        lane.network.r = lane.run.r  # type: ignore[assignment]
    while True:
        size = lane.conditions.batch_size
        try:
            with torch.inference_mode():
                _synchronize(views.device)
                begin = time.perf_counter()
                logits = torch.cat([lane.network(part) for part in views.split(size)])
                _synchronize(views.device)
                seconds = time.perf_counter() - begin
            return logits.float().cpu().numpy(), seconds
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"out of memory on {views.device} at {size} views a forward"
        size = min(size, len(views)) // 2
        if not size:
            raise TomeZooError(f"{message}: choose a smaller model or dtype, or free memory there")
        log.warning("%s: going on with %d", message, size)
        lane.conditions = replace(lane.conditions, batch_size=size)
        if views.is_cuda:
            torch.cuda.empty_cache()


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
