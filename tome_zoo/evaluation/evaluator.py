"""A model on a data set by a protocol, at several r: scores, GMACs and speed. Every sample is decoded once."""

import contextlib
import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tome_zoo import cards, registry, schedule
from tome_zoo.cards.schema import DatasetCard, ProtocolCard
from tome_zoo.data.dataset import Dataset, chosen_indices, open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation.batches import Work
from tome_zoo.evaluation.prediction import Prediction, predict
from tome_zoo.evaluation.results import Result
from tome_zoo.evaluation.runner import Plan, Progress, Run, run_share
from tome_zoo.evaluation.score_store import Key, Ledger
from tome_zoo.evaluation.summary import gather, summarise, write_results
from tome_zoo.registry import ZooModel, require_classifier
from tome_zoo.schedule import R
from tome_zoo.system import distributed, provenance
from tome_zoo.system.devices import DTYPES, choose_device, decoders
from tome_zoo.transformer.macs import count_macs
from tome_zoo.transformer.paths import attention_path
from tome_zoo.weights.load import weights_digest

__all__ = ["Prediction", "evaluate", "predict"]

PACKAGES = ("torch", "timm", "numpy")
DECODERS = {"image": ("pillow",), "video": ("decord", "av"), "audio": ("av", "torchaudio")}


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
    workers: int | None = None,
    limit: int | None = None,
    data_format: str | None = None,
    output: str | Path | None = None,
    resume: bool = True,
    flush_seconds: float = 10.0,
    time_timm: bool = False,
    progress: Progress | None = None,
) -> list[Result]:
    """Score a model on a data set at each `r`, every sample decoded once and run at every r in turn.

    Under `torchrun` the ranks share the batches, and each returns the results of all; `output` may be a folder that
    they share or one on each machine.

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
        time_timm: Also time the same weights in timm's own unmerged model, in turn with the others.
        progress: Called with (samples done, samples to do) of this process.

    Returns:
        One result for each r, in the order given. One that stands in `results.jsonl` already, with the same counts,
        is returned as it stands there.

    Raises:
        TomeZooError: If the model has no classifier.
        DataError: If model, data set and protocol do not belong together, or not one sample could be scored.
        ScheduleError: If an `r` is no schedule for the model.
    """
    with distributed.group() as here:
        with distributed.together():
            if dtype not in DTYPES:
                raise TomeZooError(f"dtype should be one of {', '.join(DTYPES)}; got {dtype!r}")
            for name, number, least in (("batch_size", batch_size, 1), ("limit", limit, 1), ("workers", workers, 0)):
                if number is not None and number < least:
                    raise TomeZooError(f"{name} should be at least {least}, got {number}")
            source = _load(model, weights)
            data, rule = _match_data(source, data, dataset, split, protocol, data_format)
            schedules = _schedules(r, len(source.blocks))
            digest = weights_digest(source)
            own = isinstance(model, str)
            place = choose_device(device) if own or device is not None else next(source.parameters()).device
            running = (source if own else copy.deepcopy(source)).to(place, DTYPES[dtype])
            running.eval().requires_grad_(False)
            where = {"batch_size": batch_size, "device": provenance.describe(place), "ranks": here.world}
            work = Work(data, rule, source.card, batch_size, decoders(place) if workers is None else workers)
            chosen = chosen_indices(len(data.samples), limit)
            facts: dict[str, Any] = {
                "model": source.card.name, "modality": source.card.modality, "dataset": data.card.name,
                "split": data.split, "protocol": rule.id, "n_expected": len(chosen), "views": work.n_views,
                "prop_attn": source.prop_attn, "weights": digest, "dtype": dtype, "limit": limit,
                "versions": provenance.versions([*PACKAGES, *DECODERS[source.card.modality]]),
                "commit": provenance.commit(), "date": provenance.now(),
            }  # fmt: skip
            runs = [Run(item, count_macs(running, item)) for item in schedules]
            for run in runs:
                path = attention_path(running, place, DTYPES[dtype], run.r)
                run.where = json.dumps({**where, "attention": path})
                key = _key(source, data, rule, digest, run.text, dtype)
                run.ledger = Ledger(output, key, fresh=not resume, seconds=flush_seconds)
        plan = Plan(work, chosen, facts, time_timm)
        with distributed.together(), torch.cuda.device(place) if place.type == "cuda" else contextlib.nullcontext():
            facts |= run_share(plan, running, runs, here, progress)
        with distributed.together():
            results = _results(plan, runs, here, output, resume=resume)
        return distributed.of_first(results)


def _load(model: ZooModel | str, weights: str | Path | None) -> ZooModel:
    if isinstance(model, str):
        if weights is None:
            require_classifier(cards.model_card(model))
        model = registry.create_model(model, pretrained=True, weights=weights)
    elif weights is not None:
        raise TomeZooError(
            "weights= goes with a name, but a model was given: load them with create_model(name, weights=)"
        )
    require_classifier(model)
    return model


def _results(
    plan: Plan, runs: list[Run], here: distributed.Place, output: str | Path | None, *, resume: bool
) -> list[Result]:
    """At rank 0 the results, written to `output`; an r that nothing could be scored at hinders no other."""
    results: list[Result] = []
    fault: DataError | OSError | None = None
    for run in runs:
        found, counts = gather(plan, run, here)
        if here.rank != 0:
            continue
        try:  # other ranks go on to the next r: they must not wait for this one
            if run.ledger is not None and output is not None:
                run.ledger.replace(found)
            results.append(summarise(plan, run, found, counts))
        except (DataError, OSError) as error:
            fault = fault or error
    if here.rank == 0 and output is not None and results:
        results = write_results(output, results, resume=resume)
    if fault is not None:
        raise fault
    return results


def _key(model: ZooModel, data: Dataset, rule: ProtocolCard, digest: str, r: str, dtype: str) -> Key:
    inputs = model.card.architecture.model_dump_json() + model.card.input.model_dump_json() + rule.model_dump_json()
    return Key(
        model=model.card.name,
        weights=digest,
        r=r,
        prop_attn=model.prop_attn,
        protocol=rule.id,
        dtype=dtype,
        dataset=data.card.name,
        split=data.split,
        root=str(data.root.resolve()),
        inputs=hashlib.sha256(inputs.encode()).hexdigest()[:12],
    )


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
    data_format: str | None,
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
    if (rule.metric == "map") != dataset.multi_label:
        raise DataError(
            f"protocol {rule.name} measures {rule.metric}, which does not suit data set {dataset.name} with "
            f"{'several labels' if dataset.multi_label else 'one label'} a sample: choose another protocol"
        )
    if not isinstance(data, Dataset):
        _same_classes(model, dataset.name, dataset.num_classes)
        data = open_dataset(data, dataset, split, data_format)
    _same_classes(model, dataset.name, data.num_classes)
    return data, rule


def _same_classes(model: ZooModel, name: str, num_classes: int | None) -> None:
    if num_classes not in (None, model.num_classes):
        raise DataError(
            f"{model.card.name} tells {model.num_classes} classes apart, data set {name} has "
            f"{num_classes}: name the data set that it was trained on, or load weights trained on this one"
        )
