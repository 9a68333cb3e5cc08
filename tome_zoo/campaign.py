"""An evaluation from the plan to the figures: what is left to do, this process's share of it, and all results."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo import distributed, metrics, patching
from tome_zoo.errors import DataError
from tome_zoo.ledger import Ledger, Shard, stamp
from tome_zoo.registry import ZooModel
from tome_zoo.results import RESULTS, Failure, Result, append_results, read_results, write_table
from tome_zoo.running import Progress, Run, Seconds, Work, pending, run_all, speed

log = logging.getLogger(__name__)


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
) -> Seconds:
    """This rank's share of what is left to do, into the ledgers."""
    everyones = distributed.everyones([_done(run, plan) for run in runs])
    done = [set().union(*(theirs[number] for theirs in everyones)) for number in range(len(runs))]
    batches = pending(plan.chosen, plan.work.samples_a_batch, done)[here.rank :: here.world]
    log.info("%s: %d batches of %d samples to do", plan.facts["model"], len(batches), plan.work.samples_a_batch)
    plain = None
    if plan.time_timm:
        plain = Run(0, runs[0].macs, model=patching.unpatch(copy.deepcopy(model)))
    try:
        spent = run_all(plan.work, batches, model, runs, plain, progress)
    finally:  # whatever stops the run, Ctrl-C included, keeps what was computed
        for run in runs:
            _ledger(run).flush()
    if plain is not None and plain.timings:
        plan.facts["timm_samples_per_second"] = speed(plain.timings) * here.world
    names = [sample.id for sample in plan.work.data.samples]
    for number, run in enumerate(runs):
        others = set().union(*(theirs[number] for theirs in everyones[: here.rank]))
        run.brings = _ledger(run).added | {names[i] for i in everyones[here.rank][number] - others}
    return spent


def gather(run: Run, here: distributed.Place) -> Shard:
    """At rank 0 all scores of a run, each sample once; elsewhere nothing that counts.

    A rank brings what it has computed, and what only its own disk holds of earlier runs.
    """
    mine = _ledger(run).read()
    found = Shard()
    for shard in distributed.at_first(mine if here.rank == 0 else mine.only(run.brings)):
        found.take(shard, known=found.ids)
    return found


def _done(run: Run, plan: Plan) -> set[int]:
    """The chosen samples that have scores, of the files that lie there now."""
    have, samples = _ledger(run).done, plan.work.data.samples
    return {i for i in plan.chosen if samples[i].id in have and have[samples[i].id] == stamp(samples[i].path)}


def _ledger(run: Run) -> Ledger:
    if run.ledger is None:
        raise AssertionError("a run of evaluate has a ledger")
    return run.ledger


def summarise(plan: Plan, run: Run, found: Shard) -> Result:
    """The figures of a run from all its scores."""
    place = {sample: row for row, sample in enumerate(found.ids)}
    samples = plan.work.data.samples
    rows = {
        i: place[samples[i].id]
        for i in plan.chosen
        if samples[i].id in place and found.stamps[place[samples[i].id]] == stamp(samples[i].path)
    }
    failed = tuple(
        Failure(samples[i].id, found.failed.get(samples[i].id, "it vanished after it was scored"))
        for i in plan.chosen
        if i not in rows
    )
    if not rows:
        reasons = "; ".join(f"{failure.id}: {failure.reason}" for failure in failed[:3])
        raise DataError(f"expected samples to score, but all {len(failed)} failed at r = {run.text}: {reasons}")
    scores = np.stack([found.scores[row] for row in rows.values()])
    targets = [samples[i].target for i in rows]
    return Result(
        **plan.facts,
        **_scores(scores, targets, plan.work.protocol.metric),
        r=run.text,
        gmacs=run.macs.gmacs,
        tokens=run.macs.tokens,
        samples_per_second=speed(found.timings) * plan.facts["ranks"],
        peak_memory=found.peak or None,
        n_scored=len(rows),
        n_failed=len(failed),
        failed=failed,
        key=_ledger(run).key.digest,
    )


def write_results(output: str | Path, results: list[Result], *, resume: bool) -> list[Result]:
    """Append the results that are new to `results.jsonl`; those that stand there already are returned as they are."""
    before = read_results(output) if resume and (Path(output) / RESULTS).exists() else []
    told = [next((old for old in reversed(before) if _same(old, new)), new) for new in results]
    append_results(output, [result for result in told if result not in before])
    write_table(output)
    return told


def _same(old: Result, new: Result) -> bool:
    counts = ("key", "limit", "n_expected", "n_scored", "n_failed", "score", "top5")
    return all(getattr(old, name) == getattr(new, name) for name in counts)


def _scores(scores: np.ndarray, targets: list[Any], metric: str) -> dict[str, Any]:
    if metric == "top1_top5":
        return {f"top{k}": metrics.top_k_accuracy(scores, targets, k) for k in (1, 5)}
    table = metrics.multi_hot(targets, scores.shape[1])
    if not table.any():
        raise DataError(f"mAP needs a positive: none of the {len(table)} scored samples has any class of the data set")
    mean, n_classes = metrics.mean_average_precision(scores, table)
    return {"map": mean, "classes_scored": n_classes}
