"""A model on a data set by a protocol, at several r: scores, GMACs and speed. Every sample is decoded once."""

import copy
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

import tome_zoo
from tome_zoo import cards, metrics, patching, registry, schedule
from tome_zoo.cards.schema import DatasetCard, ProtocolCard
from tome_zoo.data import Dataset, open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.macs import count_macs
from tome_zoo.prediction import Prediction, predict
from tome_zoo.registry import ZooModel, require_classifier
from tome_zoo.results import Ledger, Result, append_results
from tome_zoo.running import Progress, Run, Work, run_all
from tome_zoo.schedule import R

__all__ = ["DTYPES", "Prediction", "choose_device", "chosen_indices", "evaluate", "predict", "weights_digest"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def evaluate(
    model: ZooModel | str,
    data: Dataset | str | Path,
    *,
    r: R | Sequence[R] = (0,),
    protocol: ProtocolCard | str | None = None,
    dataset: DatasetCard | str | None = None,
    split: str | None = None,
    weights: str | Path | None = None,
    batch_size: int = 32,
    device: torch.device | str | None = None,
    dtype: str = "float32",
    workers: int = 0,
    limit: int | None = None,
    output: str | Path | None = None,
    time_timm: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Score a model on a data set at each `r`, every sample decoded once and run at every r in turn.

    Speed is that of the forward alone: inputs on the device, device synchronised, one batch to warm up, the r's taken
    in rotating order batch by batch so that a slow moment of the machine strikes all of them, median over the batches.

    Args:
        model: From `create_model`, or a name. A model given is not changed.
        data: From `open_dataset`, or its folder.
        r: Schedules to run; a list is several schedules, so a block-by-block one is written [[9, 0, 4]].
        protocol: Card or name; None means the model card's.
        dataset: Card or name of what lies at `data`; None means the model card's.
        split: None means the data set's validation split.
        weights: For a name: a file or URL instead of the card's weights.
        batch_size: Views a forward.
        device: None means the model's own; for a name CUDA where there is a device, else the CPU.
        dtype: "float32" or "bfloat16": weights and activations are converted; matching and sizes stay float32.
        workers: Processes that decode; 0 decodes in this one.
        limit: At most that many samples, spread evenly over the split, always the same ones.
        output: Folder for `results.jsonl` (appended) and the scores of each sample; also after an interruption.
        time_timm: Also time the same weights in timm's own unmerged model, in turn with the others.
        progress: Called with (samples done, samples expected).

    Returns:
        One result for each r, in the order given.

    Raises:
        TomeZooError: If the model has no classifier.
        DataError: If model, data set and protocol do not belong together, or not one sample could be scored.
        ScheduleError: If an `r` is no schedule for the model.
    """
    own = isinstance(model, str)
    if isinstance(model, str):
        if weights is None:
            require_classifier(cards.model_card(model))
        model = registry.create_model(model, pretrained=True, weights=weights)
    elif weights is not None:
        raise TomeZooError(
            "weights= goes with a name, but a model was given: load them with create_model(name, weights=)"
        )
    require_classifier(model)
    data, rule = _match_data(model, data, dataset, split, protocol)
    schedules = _schedules(r, len(model.blocks))
    if dtype not in DTYPES:
        raise TomeZooError(f"dtype should be one of {', '.join(DTYPES)}; got {dtype!r}")
    for name, number in (("batch_size", batch_size), ("limit", limit)):
        if number is not None and number < 1:
            raise TomeZooError(f"{name} should be at least 1, got {number}")
    digest = weights_digest(model)
    place = choose_device(device) if own or device is not None else next(model.parameters()).device
    running = (model if own else copy.deepcopy(model)).to(place, DTYPES[dtype]).eval().requires_grad_(False)

    work = Work(data, rule, model.card, chosen_indices(len(data.samples), limit), batch_size, workers)
    facts: dict[str, Any] = {
        "model": model.card.name, "modality": model.card.modality, "dataset": data.card.name, "split": data.split,
        "protocol": rule.id, "n_expected": len(work.indices), "views": work.n_views, "prop_attn": model.prop_attn,
        "weights": digest, "batch_size": batch_size, "dtype": dtype, "device": _describe(place), "limit": limit,
        "version": tome_zoo.__version__, "torch": torch.__version__, "timm": timm.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    runs = [Run(item, count_macs(running, item)) for item in schedules]
    if output is not None:
        for run in runs:
            run.ledger = Ledger(output, (model.card.name, digest, f"r{run.text}", rule.id, data.split, dtype))
    plain = Run(0, runs[0].macs, model=patching.unpatch(copy.deepcopy(running))) if time_timm else None
    try:
        run_all(work, running, runs, plain, progress)
    except BaseException:  # whatever stops the run, Ctrl-C included, keeps what was computed
        _finish(runs, plain, facts, work, output, complete=False)
        raise
    results = _finish(runs, plain, facts, work, output, complete=True)
    for run in runs:
        if not run.rows:
            reasons = "; ".join(f"{failure.id}: {failure.reason}" for failure in run.failed[:3])
            raise DataError(
                f"expected samples to score, but all {len(work.indices)} failed at r = {run.text}: {reasons}"
            )
    return results


def chosen_indices(n_samples: int, limit: int | None) -> Sequence[int]:
    """Which samples a limited evaluation takes: evenly spread, so that data sorted by class keep all their classes."""
    if limit is None or limit >= n_samples:
        return range(n_samples)
    return [i * n_samples // limit for i in range(limit)]


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device of that name; without one CUDA where there is a device, else the CPU.

    Raises:
        TomeZooError: If torch cannot use it.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # torch's own way to say that it was built without CUDA
        reason = str(error).splitlines()[0]
        raise TomeZooError(f"device {str(device)!r} cannot be used ({reason}): try cpu, cuda or cuda:0") from None
    return place


def weights_digest(model: nn.Module) -> str:
    """Leading 16 hex digits of the SHA-256 of a model's tensors with their names: which weights these are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _finish(
    runs: list[Run], plain: Run | None, facts: dict[str, Any], work: Work, output: str | Path | None, *, complete: bool
) -> list[Result]:
    """The results of the runs that have scores, also written to `output`."""
    results = []
    for run in runs:
        if run.ledger is not None:
            run.ledger.flush()
        try:
            if run.rows:
                results.append(_result(run, plain, facts, work, complete))
        except DataError:
            if complete:
                raise
    if output is not None and results:
        append_results(output, results)
    return results


def _result(run: Run, plain: Run | None, facts: dict[str, Any], work: Work, complete: bool) -> Result:
    order = sorted(run.rows)
    scores = np.stack([run.rows[index] for index in order])
    targets = [work.data.samples[index].target for index in order]
    return Result(
        **facts,
        **_scores(scores, targets, work.protocol.metric),
        r=run.text,
        gmacs=run.macs.gmacs,
        tokens=run.macs.tokens,
        samples_per_second=run.speed(),
        timm_samples_per_second=plain.speed() if plain is not None and plain.timings else None,
        n_scored=len(order),
        n_failed=len(run.failed),
        complete=complete,
        failed=tuple(run.failed),
    )


def _scores(scores: np.ndarray, targets: list[Any], metric: str) -> dict[str, Any]:
    if metric == "top1_top5":
        return {f"top{k}": metrics.top_k_accuracy(scores, targets, k) for k in (1, 5)}
    table = metrics.multi_hot(targets, scores.shape[1])
    if not table.any():
        raise DataError(f"mAP needs a positive: none of the {len(table)} scored samples has any class of the data set")
    mean, n_classes = metrics.mean_average_precision(scores, table)
    return {"map": mean, "classes_scored": n_classes}


def _schedules(r: Any, depth: int) -> list[R]:
    """The schedules asked for, each once, all checked."""
    one = isinstance(r, int) or (isinstance(r, tuple) and len(r) == 2 and isinstance(r[1], float))
    unique = {schedule.format(item): item for item in ([r] if one else r)}
    if not unique:
        raise TomeZooError("expected at least one r, got none: r = 0 merges nothing")
    for item in unique.values():
        schedule.resolve(item, depth)
    return list(unique.values())


def _match_data(
    model: ZooModel,
    data: Dataset | str | Path,
    dataset: DatasetCard | str | None,
    split: str | None,
    protocol: ProtocolCard | str | None,
) -> tuple[Dataset, ProtocolCard]:
    """Data set and protocol, if they fit the model and each other."""
    card = model.card
    dataset = data.card if isinstance(data, Dataset) else dataset or card.dataset
    dataset = cards.dataset_card(dataset) if isinstance(dataset, str) else dataset
    protocol = protocol or card.protocol
    rule = cards.protocol_card(protocol) if isinstance(protocol, str) else protocol
    for kind, other in (("data set", dataset), ("protocol", rule)):
        if other.modality != card.modality:
            raise DataError(f"{card.name} reads {card.modality}, but {kind} {other.name} is for {other.modality}")
    if model.num_classes != dataset.num_classes:
        raise DataError(
            f"{card.name} tells {model.num_classes} classes apart, data set {dataset.name} has "
            f"{dataset.num_classes}: name the data set that it was trained on, or load weights trained on this one"
        )
    if (rule.metric == "map") != dataset.multi_label:
        raise DataError(
            f"protocol {rule.name} measures {rule.metric}, which does not suit data set {dataset.name} with "
            f"{'several labels' if dataset.multi_label else 'one label'} a sample: choose another protocol"
        )
    return data if isinstance(data, Dataset) else open_dataset(data, dataset, split), rule


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
