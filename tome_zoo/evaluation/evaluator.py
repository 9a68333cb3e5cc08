"""A model on a data set by a protocol, at several r: scores, GMACs and speed. Every sample is decoded once."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tome_zoo.cards.schema import DatasetCard, ProtocolCard
from tome_zoo.data.dataset import Dataset
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation.agreement import require_agreement
from tome_zoo.evaluation.batches import scored_indices, share_out
from tome_zoo.evaluation.classifier import load_classifier, place
from tome_zoo.evaluation.plan import Plan, match_data, plan_evaluation
from tome_zoo.evaluation.prediction import Prediction, predict
from tome_zoo.evaluation.results import Result
from tome_zoo.evaluation.runner import ProgressCallback, Run, run_batches
from tome_zoo.evaluation.score_store import ScoreStore, versions_before
from tome_zoo.evaluation.summary import collect_results, earlier_results
from tome_zoo.merge import AnyReducer
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed
from tome_zoo.system.devices import DTYPES
from tome_zoo.transformer.macs import count_macs
from tome_zoo.weights.load import weights_digest

log = logging.getLogger(__name__)

__all__ = ["Prediction", "evaluate", "predict"]


def evaluate(
    model: nn.Module | str,
    data: Dataset | str | Path,
    *,
    r: R | Sequence[R] = (0,),
    prop_attn: bool | None = None,
    reducer: AnyReducer | None = None,
    protocol: ProtocolCard | str | None = None,
    dataset: DatasetCard | str | None = None,
    split: str | None = None,
    weights: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    use_ema: bool | None = None,
    batch_size: int = 32,
    device: torch.device | str | None = None,
    dtype: str = "float32",
    workers: int | None = None,
    limit: int | None = None,
    data_format: str | None = None,
    output: str | Path | None = None,
    resume: bool = True,
    flush_seconds: float = 10.0,
    time_timm: bool = False,
    progress: ProgressCallback | None = None,
) -> list[Result]:
    """Score a model on a data set at each `r`, every sample decoded once and run at every r in turn.

    Under `torchrun` the ranks share the batches, and each returns the results of all; `output` may be a folder that
    they share or one on each machine.

    Speed is that of the forward alone: inputs on the device, device synchronised, one batch to warm up, the r's taken
    in rotating order batch by batch so that a slow moment of the machine strikes all of them, median over the batches.

    Args:
        model: A name, as `create_model` takes it; a model that it gave; or a timm model after `tome_zoo.patch`, which
            is prepared for and named after its `pretrained_cfg`. The weights and settings of a model are not changed.
        data: From `open_dataset`, or its folder.
        r: Schedules to run; a list is several schedules, so a block-by-block one is written [[9, 0, 4]].
        prop_attn: Whether attention weighs merged tokens by size; None leaves it as the model has it.
        reducer: How tokens are reduced, by name or as a function; None leaves it as the model has it.
        protocol: Card or name; None means the model card's.
        dataset: Card or name of what lies at `data`; None means the model card's.
        split: None means the data set's validation split.
        weights: For a name: a file or URL instead of the card's weights.
        overrides: For a name: fields of `Architecture` that differ from the card's, as {"img_size": 448}.
        use_ema: For a name: of raw and averaged weights in one file, whether to take the averaged ones; None does as
            timm does.
        batch_size: Views a forward; where memory does not suffice it is halved, which the result states.
        device: None means the model's own; for a name CUDA where there is a device, else the CPU.
        dtype: "float32", "bfloat16" or "float16": weights and activations are converted; matching and sizes stay
            float32.
        workers: Processes that decode; 0 decodes in this one; None means 0 for a model on the CPU, else as many as
            there are processors for each GPU, up to 8.
        limit: At most that many samples, spread evenly over the split, always the same ones.
        data_format: How the data lie on disk (`tome_zoo.data.formats`); None finds out.
        output: Folder for `results.jsonl` (appended), `results.csv` and the scores of each sample.
        resume: Go on from the scores that `output` holds of this model, r, protocol, data and dtype; samples that
            failed are tried again, and those whose files have changed. False scores all anew.
        flush_seconds: How often scores are written; what a killed process loses at most.
        time_timm: Also time the same weights in timm's own unmerged model, in turn with the others, if timm has it.
        progress: Called with (samples done, samples to do) of this process.

    Returns:
        One result for each r, in the order given. One that stands in `results.jsonl` already, with the same counts,
        is returned as it stands there.

    Raises:
        TomeZooError: If the model has no classifier, or an argument makes no sense.
        DataError: If model, data set and protocol do not belong together, or not one sample could be scored.
        ScheduleError: If an `r` is no schedule for the model.
    """
    with distributed.process_group() as rank:
        with distributed.raise_together():
            _check_options(dtype, batch_size=batch_size, limit=limit, workers=workers)
            if resume and output is not None and rank.rank == 0:
                earlier_results(output)  # a damaged file is refused before hours are spent
            source = load_classifier(model, weights, overrides, use_ema)
            found, rule = match_data(source, data, dataset, split, protocol, data_format)
            digest = weights_digest(source)
            network = place(source, device, dtype, prop_attn, reducer, keep=not isinstance(model, str))
            plan = plan_evaluation(
                network, digest, found, rule, r,
                dtype=dtype, batch_size=batch_size, limit=limit, workers=workers, ranks=rank.world_size,
                time_timm=time_timm,
            )  # fmt: skip
        require_agreement(plan, resume)
        with distributed.raise_together():
            if output is not None and rank.rank == 0:
                _tell_other_versions(plan, output)
            runs = _open_runs(plan, network, output, fresh=not resume, flush_seconds=flush_seconds)
            done = scored_indices(plan, [run.store.done for run in runs])
        batches, only_here = share_out(plan, done, rank)
        with distributed.raise_together(), _current_device(plan.device):
            share = run_batches(plan, network, runs, batches, progress)
        with distributed.raise_together():
            results = collect_results(plan, runs, share, only_here, output, resume=resume)
        return distributed.broadcast(results)


def _open_runs(
    plan: Plan, model: ZooModel, output: str | Path | None, *, fresh: bool, flush_seconds: float
) -> list[Run]:
    """Each r of the evaluation with the scores that are stored of it."""
    return [
        Run(r, count_macs(model, r), ScoreStore(output, plan.key(r), fresh=fresh, flush_seconds=flush_seconds))
        for r in plan.schedules
    ]


def _check_options(dtype: str, **counts: int | None) -> None:
    if dtype not in DTYPES:
        raise TomeZooError(f"dtype should be one of {', '.join(DTYPES)}; got {dtype!r}")
    for name, number in counts.items():
        least = 0 if name == "workers" else 1
        if number is not None and number < least:
            raise TomeZooError(f"{name} should be at least {least}, got {number}")


def _tell_other_versions(plan: Plan, output: str | Path) -> None:
    if differences := versions_before(output, plan.key(plan.schedules[0])):
        log.warning(
            "%s holds scores of %s made with %s: they are kept, and those of today are computed anew",
            output, plan.card.name, ", ".join(differences),
        )  # fmt: skip


def _current_device(device: torch.device) -> AbstractContextManager:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
