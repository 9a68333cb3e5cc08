"""Features of files: what an encoder makes of them, a row each; resumable, and shared by ranks."""

import copy
import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tome_zoo import cards, registry, schedule
from tome_zoo.cards.schema import DatasetCard, ProtocolCard
from tome_zoo.data.dataset import Dataset, open_dataset
from tome_zoo.data.decode import decode
from tome_zoo.data.stamp import stamp
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation.batches import own_batches
from tome_zoo.evaluation.metrics import multi_hot
from tome_zoo.evaluation.plan import DECODERS, PACKAGES
from tome_zoo.evaluation.results import Failure
from tome_zoo.evaluation.score_store import ScoreKey, ScoreStore
from tome_zoo.evaluation.shard import Shard, merge_shards
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed, provenance
from tome_zoo.system.devices import DTYPES, choose_device, decoders
from tome_zoo.training.feature_files import check_ending, files_of_folder, write_features
from tome_zoo.weights.load import weights_digest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """Features of samples.

    Attributes:
        ids: Of the samples, in the order of the data.
        features: float32 `[samples, channels]`, or `[samples, tokens, channels]`; of several views their mean.
        targets: Class indices `[samples]`, or True and False `[samples, classes]`; None where nobody knows them.
        labels: Names of the classes, as far as they are known.
        failed: Samples that could not be read.
    """

    ids: tuple[str, ...]
    features: NDArray[np.float32]
    targets: NDArray[Any] | None
    labels: tuple[str, ...]
    failed: tuple[Failure, ...]


@torch.inference_mode()
def embed(
    model: ZooModel | str,
    data: Dataset | str | Path,
    *,
    r: R | None = None,
    output: str | Path | None = None,
    tokens: bool = False,
    dataset: DatasetCard | str | None = None,
    split: str | None = None,
    data_format: str | None = None,
    protocol: str | None = None,
    weights: str | Path | None = None,
    batch_size: int = 32,
    device: torch.device | str | None = None,
    dtype: str = "float32",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """One row of features a file.

    Under `torchrun` the ranks share the files. What is done lies in `OUTPUT.parts/` until the file is written, so that
    the same call goes on where a killed one stopped.

    Args:
        model: From `create_model`, a timm model after `tome_zoo.patch`, or a name; its classifier is left out. A model
            given is not changed.
        data: From `open_dataset`; or a folder: of the data set `dataset`, else of any files of the model's modality,
            which have no targets then.
        r: What merges; None takes what the model has, 0 for a name.
        output: A file to write, .npz or .parquet: ids, features and, where known, targets and labels.
        tokens: All tokens behind the last block, unmerged to the full grid, instead of the pooled vector.
        dataset: Card or name of what lies at `data`.
        split: Of the data set; None takes the validation split.
        data_format: How it lies on disk; None finds out.
        protocol: Name of the protocol whose views are taken; None takes the model card's.
        weights: For a name: a file or URL instead of the card's weights.
        batch_size: Views a forward.
        device: None takes the model's own; for a name CUDA where there is a device.
        dtype: "float32", "bfloat16" or "float16".
        workers: Processes that decode; None takes as many as evaluation does.
        progress: Called with (samples done, samples to do) of this process.

    Raises:
        DataError: If there are no files, or none can be read.
        TomeZooError: If the output has another ending.
    """
    if dtype not in DTYPES:
        raise TomeZooError(f"dtype should be one of {', '.join(DTYPES)}; got {dtype!r}")
    if output is not None:
        check_ending(output)
    with distributed.process_group() as rank:
        with distributed.raise_together():
            network = (
                registry.create_model(model, pretrained=True, weights=weights)
                if isinstance(model, str)
                else registry.resolve_model(copy.deepcopy(model))
            )
            found = _open(network, data, dataset, split, data_format)
            rule = cards.protocol_card(protocol or network.card.protocol)
            schedule.resolve(wanted := network.r if r is None else r, len(network.blocks))
            parts = None if output is None else Path(f"{output}.parts")
            store = ScoreStore(parts, _key(network, found, rule, schedule.format(wanted), dtype, tokens))
            own = isinstance(model, str) or device is not None
            on = choose_device(device) if own else next(network.parameters()).device
            network.to(on, DTYPES[dtype]).eval()
            network.r = wanted
            done = {i for i, s in enumerate(found.samples) if store.done.get(s.id) == stamp(s.path)}
        size = max(1, batch_size // (rule.temporal_views * rule.spatial_views))
        batches, _ = own_batches(range(len(found.samples)), size, [done], rank)
        mine = [index for batch in batches for index in batch.indices]
        with distributed.raise_together():
            failed = _embed_samples(network, found, rule, mine, store, tokens, batch_size, workers, progress)
        with distributed.raise_together():
            gathered = distributed.gather_to_rank0((store.read(), failed))
            made = _collect(found, gathered) if rank.rank == 0 else None
            if made is not None and output is not None:
                write_features(output, made.ids, made.features, made.targets, made.labels)
                if parts is not None and not made.failed:
                    shutil.rmtree(parts, ignore_errors=True)
        made = distributed.broadcast(made)
    if made is None:
        raise AssertionError("rank 0 has the features")
    return made


def _embed_samples(
    model: ZooModel,
    data: Dataset,
    rule: ProtocolCard,
    indices: Sequence[int],
    store: ScoreStore,
    tokens: bool,
    batch_size: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[Failure]:
    """Put a row for each sample into the store, whatever ends the loop; returns the samples that have none."""
    parameter = next(model.parameters())
    failed: list[Failure] = []
    try:
        items = decode(
            data, indices, model.card, rule,
            workers=decoders(parameter.device) if workers is None else workers,
            pin_memory=parameter.device.type == "cuda",
        )  # fmt: skip
        for position, item in enumerate(items, 1):
            sample = data.samples[item.index].id
            if item.views is None:
                failed.append(Failure(sample, item.reason or "no reason given"))
                _log.warning("%s has no features: %s", *failed[-1])
            else:
                row = _row(model, item.views.to(parameter), tokens, batch_size)
                store.add(Shard(ids=[sample], stamps=[item.stamp], scores=[row]))
            distributed.report_work()
            if progress is not None:
                progress(position, len(indices))
    finally:
        store.flush()
    return failed


def pooled_features(model: ZooModel, views: Tensor) -> Tensor:
    """What the classifier of a model sees, `[views, channels]`, at whatever `model.r` it has."""
    tokens, size = model.forward_features(views, return_size=True)
    return model.forward_head(tokens, pre_logits=True, size=size)


def _row(model: ZooModel, views: Tensor, tokens: bool, batch_size: int) -> NDArray[np.float32]:
    parts: list[Any] = [
        model.forward_features(part, unmerge=True) if tokens else pooled_features(model, part)
        for part in views.split(batch_size)
    ]
    return torch.cat(parts).float().mean(dim=0).cpu().numpy()


def _open(
    model: ZooModel,
    data: Dataset | str | Path,
    dataset: DatasetCard | str | None,
    split: str | None,
    data_format: str | None,
) -> Dataset:
    if isinstance(data, Dataset):
        found = data
    elif dataset is None:
        found = files_of_folder(Path(data), model.card.modality)
    else:
        card = cards.dataset_card(dataset) if isinstance(dataset, str) else dataset
        found = open_dataset(data, card, split, data_format)
    if found.card.modality != model.card.modality:
        raise DataError(f"{model.card.name} reads {model.card.modality}, but the data are {found.card.modality}")
    return found


def _key(model: ZooModel, data: Dataset, rule: Any, r: str, dtype: str, tokens: bool) -> ScoreKey:
    inputs = model.card.architecture.model_dump_json() + model.card.input.model_dump_json() + rule.model_dump_json()
    found = provenance.versions([*PACKAGES, *DECODERS[model.card.modality]])
    return ScoreKey(
        model=model.card.name,
        weights=weights_digest(model),
        r=r,
        prop_attn=model.prop_attn,
        reducer=model.reducer.identity,
        protocol=f"{rule.id},{'tokens' if tokens else 'pooled'}",
        dtype=dtype,
        dataset=data.card.name,
        split=data.split,
        inputs=hashlib.sha256(inputs.encode()).hexdigest()[:12],
        versions=tuple(f"{name} {version}" for name, version in found.items() if name != "python"),
    )


def _collect(data: Dataset, gathered: Sequence[tuple[Shard, list[Failure]]]) -> Features:
    whole = merge_shards([shard for shard, _ in gathered])
    place = {sample: row for row, sample in enumerate(whole.ids)}
    failed = tuple(failure for _, failures in gathered for failure in failures)
    kept = [sample for sample in data.samples if sample.id in place]
    if not kept:
        raise DataError(f"{data.root}: none of {len(data)} files could be read: {failed[0].reason if failed else ''}")
    targets: NDArray[Any] | None = None
    if data.format:  # a data set, not just files
        chosen: list[Any] = [sample.target for sample in kept]
        targets = multi_hot(chosen, data.num_classes) if data.card.multi_label else np.array(chosen, dtype=np.int64)
    return Features(
        tuple(sample.id for sample in kept),
        np.stack([whole.scores[place[sample.id]] for sample in kept]).astype(np.float32),
        targets,
        data.labels if data.format else (),
        failed,
    )
