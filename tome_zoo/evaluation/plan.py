"""What an evaluation is to do, all checked before anything is decoded."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tome_zoo import cards, schedule
from tome_zoo.cards.schema import DatasetCard, ModelCard, ProtocolCard
from tome_zoo.data.dataset import Dataset, chosen_indices, open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation.conditions import Conditions
from tome_zoo.evaluation.score_store import ScoreKey
from tome_zoo.merge import Reducer
from tome_zoo.modalities.video import video_decoder
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import provenance
from tome_zoo.system.devices import DTYPES, decoders
from tome_zoo.transformer.paths import attention_path

PACKAGES = ("torch", "timm", "numpy")
DECODERS = {"image": ("pillow", "torchvision"), "video": ("decord", "av"), "audio": ("av", "torchaudio")}
NOT_IN_SCORES = {"summary"}  # fields of a protocol that say nothing of how it scores


@dataclass(frozen=True)
class Plan:
    """What an evaluation is to do.

    Attributes:
        card: The model's, with overrides.
        weights: Digest of the model's tensors.
        prop_attn: Whether attention weighs tokens by size.
        reducer: How tokens are reduced.
        schedules: Each once.
        attention: What computes attention at each of them and at 0, by r as the command line writes it.
        chosen: Indices of the samples.
        limit: At most that many samples were chosen; None for all.
        dtype: Of weights and activations, by name.
        batch_size: Views a forward.
        workers: Processes that decode; 0 decodes in this one.
        ranks: Processes that share the batches.
        time_timm: Whether timm's unmerged model is timed beside.
        versions: Of Python and of the packages that decode and compute.
        date: When the command was given.
    """

    card: ModelCard
    weights: str
    prop_attn: bool
    reducer: Reducer
    data: Dataset
    protocol: ProtocolCard
    schedules: tuple[R, ...]
    attention: dict[str, str]
    chosen: Sequence[int]
    limit: int | None
    device: torch.device
    dtype: str
    batch_size: int
    workers: int
    ranks: int
    time_timm: bool
    versions: dict[str, str]
    date: str

    @property
    def n_views(self) -> int:
        """Views of a sample."""
        return self.protocol.temporal_views * self.protocol.spatial_views

    @property
    def samples_per_batch(self) -> int:
        """How many samples go through the model at a time; at least one."""
        return max(1, self.batch_size // self.n_views)

    def key(self, r: R) -> ScoreKey:
        """What the scores at `r` depend on."""
        architecture, views = self.card.architecture.model_dump_json(), self.card.input.model_dump_json()
        inputs = architecture + views + self.protocol.model_dump_json(exclude=NOT_IN_SCORES)
        return ScoreKey(
            model=self.card.name,
            weights=self.weights,
            r=schedule.format(r),
            prop_attn=self.prop_attn,
            reducer=self.reducer.identity,
            protocol=self.protocol.id,
            dtype=self.dtype,
            dataset=self.data.card.name,
            split=self.data.split,
            inputs=hashlib.sha256(inputs.encode()).hexdigest()[:12],
            versions=tuple(f"{name} {version}" for name, version in self.versions.items() if name != "python"),
        )

    def conditions(self, r: R) -> Conditions:
        """Under what the batches at `r` are computed."""
        return Conditions(
            device=provenance.describe(self.device),
            batch_size=self.batch_size,
            ranks=self.ranks,
            attention=self.attention[schedule.format(r)],
        )

    def facts(self) -> dict[str, Any]:
        """What every result states: fields of `Result`."""
        return {
            "model": self.card.name, "modality": self.card.modality, "dataset": self.data.card.name,
            "split": self.data.split, "root": str(self.data.root.resolve()), "protocol": self.protocol.id,
            "n_expected": len(self.chosen),
            "views": self.n_views, "prop_attn": self.prop_attn, "reducer": self.reducer.name,
            "weights": self.weights, "dtype": self.dtype,
            "limit": self.limit, "versions": self.versions, "commit": provenance.commit(), "date": self.date,
        }  # fmt: skip


def plan_evaluation(
    model: ZooModel,
    weights: str,
    data: Dataset,
    protocol: ProtocolCard,
    r: Any,
    *,
    dtype: str,
    batch_size: int,
    limit: int | None,
    workers: int | None,
    ranks: int,
    time_timm: bool,
) -> Plan:
    """The plan of an evaluation that begins now.

    Args:
        model: On its device, in its dtype.
        weights: Digest of its tensors as they were loaded.
        data: What is scored, from `match_data`.
        protocol: By which rule, likewise.
        r: One schedule or several, as `unique_schedules` takes them.
        dtype: Of weights and activations, by name.
        batch_size: Views a forward.
        limit: At most that many samples; None takes all.
        workers: Processes that decode; None takes what suits the device.
        ranks: Processes that share the batches.
        time_timm: Whether timm's unmerged model is timed beside.

    Raises:
        ScheduleError: If an `r` is no schedule for the model.
    """
    device, modality = next(model.parameters()).device, model.card.modality
    schedules = unique_schedules(r, len(model.blocks))
    versions = provenance.versions([*PACKAGES, *DECODERS[modality]])
    return Plan(
        card=model.card,
        weights=weights,
        prop_attn=model.prop_attn,
        reducer=model.reducer,
        data=data,
        protocol=protocol,
        schedules=schedules,
        attention={schedule.format(r): attention_path(model, device, DTYPES[dtype], r) for r in (0, *schedules)},
        chosen=chosen_indices(len(data.samples), limit),
        limit=limit,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        workers=decoders(device) if workers is None else workers,
        ranks=ranks,
        time_timm=time_timm,
        versions=versions | ({"video_decoder": video_decoder()} if modality == "video" else {}),
        date=provenance.now(),
    )


def unique_schedules(r: Any, depth: int) -> tuple[R, ...]:
    """The schedules asked for, each once, all checked.

    Args:
        r: One whole number or pair (r, slope), or several schedules.
        depth: Blocks of the model.

    Raises:
        ScheduleError: If one is no schedule for the model.
        TomeZooError: If there is none.
    """
    one = schedule.is_linear(r) or isinstance(r, str) or not isinstance(r, Iterable)
    unique: dict[str, R] = {}
    for item in [r] if one else r:
        schedule.resolve(item, depth)
        unique.setdefault(schedule.format(item), item)
    if not unique:
        raise TomeZooError("expected at least one r, got none: r = 0 merges nothing")
    return tuple(unique.values())


def match_data(
    model: ZooModel,
    data: Dataset | str | Path,
    dataset: DatasetCard | str | None,
    split: str | None,
    protocol: ProtocolCard | str | None,
    data_format: str | None,
) -> tuple[Dataset, ProtocolCard]:
    """Data set and protocol, if they fit the model and each other; the arguments are those of `evaluate`.

    Raises:
        DataError: If they do not.
        TomeZooError: If `data` is a data set already, and something else is said of it.
    """
    card = model.card
    if isinstance(data, Dataset):
        said = {"dataset": dataset, "split": split, "data_format": data_format}
        if extra := [name for name, value in said.items() if value is not None]:
            raise TomeZooError(
                f"{', '.join(extra)} would be ignored: the data set given is {data.card.name} ({data.split}) already; "
                "say it to open_dataset, or give the folder instead"
            )
    dataset = data.card if isinstance(data, Dataset) else dataset
    dataset = cards.model_dataset(card, dataset) if isinstance(dataset, str | None) else dataset
    protocol = protocol or card.protocol
    protocol = cards.protocol_card(protocol) if isinstance(protocol, str) else protocol
    for kind, other in (("data set", dataset), ("protocol", protocol)):
        if other.modality != card.modality:
            raise DataError(f"{card.name} reads {card.modality}, but {kind} {other.name} is for {other.modality}")
    if (protocol.metric == "map") != dataset.multi_label:
        raise DataError(
            f"protocol {protocol.name} measures {protocol.metric}, which does not suit data set {dataset.name} with "
            f"{'several labels' if dataset.multi_label else 'one label'} a sample: choose another protocol"
        )
    if not isinstance(data, Dataset):
        _require_same_classes(model, dataset.name, dataset.num_classes)
        data = open_dataset(data, dataset, split, data_format)
    _require_same_classes(model, dataset.name, data.num_classes)
    return data, protocol


def _require_same_classes(model: ZooModel, name: str, num_classes: int | None) -> None:
    if num_classes not in (None, model.num_classes):
        raise DataError(
            f"{model.card.name} tells {model.num_classes} classes apart, data set {name} has "
            f"{num_classes}: name the data set that it was trained on, or load weights trained on this one"
        )
