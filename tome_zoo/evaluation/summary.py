"""From scores to results: what all ranks have is gathered, summed up and written at rank 0."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tome_zoo.data.formats.split import Sample
from tome_zoo.errors import DataError
from tome_zoo.evaluation import metrics
from tome_zoo.evaluation.conditions import Conditions, Timing
from tome_zoo.evaluation.confidence import bootstrap_interval
from tome_zoo.evaluation.plan import Plan
from tome_zoo.evaluation.real_labels import real_accuracy
from tome_zoo.evaluation.results import RESULTS, Failure, Result, append_results, read_results, write_table
from tome_zoo.evaluation.runner import Run, Share, samples_per_second
from tome_zoo.evaluation.shard import Shard, merge_shards
from tome_zoo.system import distributed


def collect_results(
    plan: Plan,
    runs: Sequence[Run],
    share: Share,
    only_here: Sequence[set[str]],
    output: str | Path | None,
    *,
    resume: bool,
) -> list[Result]:
    """At rank 0 the results, written to `output`; elsewhere none. An r that gave no scores hinders no other.

    Args:
        plan: The evaluation.
        runs: One for each r.
        share: What this process has done.
        only_here: At each r the samples of which only this process had scores before; it tells them, and those that
            it has computed.
        output: Folder for the results; None writes nothing.
        resume: Whether results that stand there are returned instead of written again.

    Raises:
        DataError: At rank 0, if an r gave no scores; the results of the others are written.
        OSError: At rank 0, if they cannot be.
    """
    results: list[Result] = []
    fault: DataError | OSError | None = None
    for run, failed, scored, before in zip(runs, share.failed, share.scored, only_here, strict=True):
        gathered = gather_scores(run, failed, scored | before)
        if gathered is None:
            continue
        found, counted, reasons = gathered
        try:  # other ranks go on to the next r: they must not wait for this one
            if output is not None:
                run.store.replace(found)
                if plan.data.card.labels is None:  # which classes there are, the model or the folders say
                    run.store.write_class_names(plan.data.labels)
            results.append(_summarise(plan, run, share, found, counted, reasons))
        except (DataError, OSError) as error:
            fault = fault or error
    if output is not None and results:
        results = write_results(output, results, resume=resume)
    if fault is not None:
        raise fault
    return results


def gather_scores(
    run: Run, failed: dict[str, str], ids: Collection[str]
) -> tuple[Shard, set[str], dict[str, str]] | None:
    """At rank 0 all scores at one r, each sample once, the samples that count, and why others failed; elsewhere None.

    A rank sends what it has computed, and what only its own disk holds of earlier runs. Rank 0 keeps besides what its
    disk holds of samples that are not asked for now.
    """
    stored = run.store.read()
    mine = stored.select(ids)
    sent = distributed.gather_to_rank0((mine, failed))
    if not sent:
        return None
    found = merge_shards(shard for shard, _ in sent)
    counted = set(found.ids)
    reasons: dict[str, str] = {}
    for _, theirs in reversed(sent):
        reasons |= theirs
    return merge_shards([found, stored]), counted, reasons


def _summarise(plan: Plan, run: Run, share: Share, found: Shard, counted: set[str], reasons: dict[str, str]) -> Result:
    """The figures at one r from its scores, those of the samples that count."""
    row_of = {sample: row for row, sample in enumerate(found.ids) if sample in counted}
    samples = plan.data.samples
    rows = {i: row_of[samples[i].id] for i in plan.chosen if samples[i].id in row_of}
    failed = tuple(
        Failure(samples[i].id, reasons.get(samples[i].id, "no reason given")) for i in plan.chosen if i not in rows
    )
    if not rows:
        causes = "; ".join(f"{failure.id}: {failure.reason}" for failure in failed[:3])
        raise DataError(f"expected samples to score, but all {len(failed)} failed at r = {run.text}: {causes}")
    scores = np.stack([found.scores[row] for row in rows.values()])
    timm = samples_per_second(share.timm) * plan.ranks if share.timm else None
    return Result(
        **plan.facts(),
        **_speed(found.timings, plan.conditions(run.r)),
        **_scores(scores, [samples[i] for i in rows], plan.protocol.metric),
        r=run.text,
        gmacs=run.macs.gmacs,
        tokens=run.macs.tokens,
        n_scored=len(rows),
        n_failed=len(failed),
        failed=failed,
        timm_samples_per_second=timm,
        seconds={name: round(value, 3) for name, value in asdict(share.seconds).items()},
        key=run.store.key.digest,
    )


def _speed(timings: Sequence[Timing], now: Conditions) -> dict[str, Any]:
    """Speed, memory and conditions: as the command runs now or, if nothing was computed so, as most was computed."""
    computed = Counter[Conditions]()
    for timing in timings:
        computed[timing.conditions] += timing.samples
    conditions = now if now in computed else computed.most_common(1)[0][0]
    taken = [timing for timing in timings if timing.conditions == conditions]
    return {
        **asdict(conditions),
        "samples_per_second": samples_per_second(taken) * conditions.ranks,
        "peak_memory": max(timing.peak for timing in taken) or None,
    }


def _scores(scores: np.ndarray, samples: Sequence[Sample], metric: str) -> dict[str, Any]:
    """Fields of `Result`: the scores with their intervals."""
    if metric == "top1_top5":
        classes: Any = [sample.target for sample in samples]
        found: dict[str, Any] = {f"top{k}": metrics.top_k_accuracy(scores, classes, k) for k in (1, 5)}
        found |= {f"{name}_interval": bootstrap_interval(scores, classes, name) for name in ("top1", "top5")}
        if (real := real_accuracy(scores, samples)) is not None:
            found["real_top1"], found["real_scored"] = real
        return found
    several: Any = [sample.target for sample in samples]
    table = metrics.multi_hot(several, scores.shape[1])
    if not table.any():
        raise DataError(f"mAP needs a positive: none of the {len(table)} scored samples has any class of the data set")
    mean, n_classes = metrics.mean_average_precision(scores, table)
    found = {"map": mean, "classes_scored": n_classes, "map_interval": bootstrap_interval(scores, table, "map")}
    auc = metrics.mean_auc(scores, table)
    found |= {"auc": auc, "d_prime": metrics.d_prime(auc)}
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in found.items()
    }


def earlier_results(output: str | Path) -> list[Result]:
    """What stands in `results.jsonl` of a folder; nothing where there is none.

    Raises:
        DataError: If a line is damaged; the message names file, line and field.
    """
    return read_results(output) if (Path(output) / RESULTS).exists() else []


def write_results(output: str | Path, results: list[Result], *, resume: bool) -> list[Result]:
    """Append the results that are new to `results.jsonl`; those that stand there already are returned as they are."""
    before = earlier_results(output) if resume else []
    told = [next((old for old in reversed(before) if _same(old, new)), new) for new in results]
    append_results(output, [result for result in told if result not in before])
    write_table(output)
    return told


def _same(old: Result, new: Result) -> bool:
    counts = ("key", "root", "limit", "n_expected", "n_scored", "n_failed", "score", "top5")
    return all(getattr(old, name) == getattr(new, name) for name in counts)
