"""An evaluation from the plan to the figures: what is left to do, this process's share of it, and all results."""

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo.errors import DataError
from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.results import RESULTS, Failure, Result, append_results, read_results, write_table
from tome_zoo.evaluation.runner import Plan, Run, ledger_of, speed
from tome_zoo.evaluation.shard import Shard, Timing, merged, stamp
from tome_zoo.system import distributed


def gather(plan: Plan, run: Run, here: distributed.Place) -> tuple[Shard, set[str]]:
    """At rank 0 all there is of a run, each sample once, and the samples whose scores count; elsewhere nothing.

    A rank brings what it has computed, and what only its own disk holds of earlier runs. Rank 0 keeps besides what its
    disk holds of samples that are not asked for now.
    """
    mine = ledger_of(run).read()
    sent = distributed.at_first((platform.node(), Shard() if here.rank == 0 else mine.only(run.brings)))
    if not sent:
        return Shard(), set()
    paths = {sample.id: sample.path for sample in plan.work.data.samples}
    for machine, shard in sent:
        if machine != sent[0][0]:  # its files are copies of ours, and changed at another time
            shard.stamps = [stamp(paths[sample]) for sample in shard.ids]
    found = merged([mine.only(run.brings), *(shard for _, shard in sent[1:])])
    counts = set(found.ids)
    found.take(replace(mine, failed={}, timings=[]), known=counts)
    return found, counts


def summarise(plan: Plan, run: Run, found: Shard, counts: set[str]) -> Result:
    """The figures of a run from its scores, those of the samples in `counts`."""
    place = {sample: row for row, sample in enumerate(found.ids) if sample in counts}
    samples = plan.work.data.samples
    rows = {i: place[samples[i].id] for i in plan.chosen if samples[i].id in place}
    failed = tuple(
        Failure(samples[i].id, found.failed.get(samples[i].id, "no reason given")) for i in plan.chosen if i not in rows
    )
    if not rows:
        reasons = "; ".join(f"{failure.id}: {failure.reason}" for failure in failed[:3])
        raise DataError(f"expected samples to score, but all {len(failed)} failed at r = {run.text}: {reasons}")
    scores = np.stack([found.scores[row] for row in rows.values()])
    targets = [samples[i].target for i in rows]
    return Result(
        **plan.facts | _speed(found.timings, run.where),
        **_scores(scores, targets, plan.work.protocol.metric),
        r=run.text,
        gmacs=run.macs.gmacs,
        tokens=run.macs.tokens,
        n_scored=len(rows),
        n_failed=len(failed),
        failed=failed,
        key=ledger_of(run).key.digest,
    )


def _speed(timings: Sequence[Timing], here: str) -> dict[str, Any]:
    """Speed and memory, and on what: as the command runs now or, if nothing was computed so, as most was computed."""
    where = here if any(timing.where == here for timing in timings) else _most(timings)
    taken = [timing for timing in timings if timing.where == where]
    told = json.loads(where)
    peak = max(timing.peak for timing in taken) or None
    return {**told, "samples_per_second": speed(taken) * told["ranks"], "peak_memory": peak}


def _most(timings: Sequence[Timing]) -> str:
    samples = Counter[str]()
    for timing in timings:
        samples[timing.where] += timing.samples
    return samples.most_common(1)[0][0]


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
