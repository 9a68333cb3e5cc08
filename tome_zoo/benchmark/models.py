"""What is timed: a model of the zoo or of timm, unmerged and merging with the very same weights, or a baseline."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tome_zoo import registry, schedule
from tome_zoo.benchmark.baselines import build_baseline, timm_model
from tome_zoo.cards import BaselineCard, ModelCard, baseline_cards, model_card, model_cards
from tome_zoo.cards.timm_models import full_name
from tome_zoo.errors import CardError, UnsupportedModelError
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.transformer import patching
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.macs import count_macs
from tome_zoo.transformer.vit import MergingVisionTransformer
from tome_zoo.weights.save import metadata_of

CLOSED_FORM = "closed form"
FLOP_COUNTER = "torch.utils.flop_counter / 2"


@dataclass(frozen=True)
class Subject:
    """A model before it is built.

    Attributes:
        name: Of a card of a model or a baseline, or of one of timm's models.
        overrides: Fields of `Architecture` that differ from the card's.
        instance: A model that exists already; it is copied, not changed.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    instance: ZooModel | None = None

    @cached_property
    def card(self) -> ModelCard | None:
        """The zoo's card; None for one of timm's models and for baselines."""
        return model_card(self.name) if self.name in model_cards() else None

    @property
    def baseline(self) -> BaselineCard | None:
        """The card of a baseline."""
        return baseline_cards().get(self.name)

    @property
    def source(self) -> str:
        """Who builds it: "tome-zoo", "timm" or "torchvision"."""
        if self.card is not None:
            return "tome-zoo"
        return "timm" if self.baseline is None else self.baseline.library

    @property
    def schedules(self) -> Sequence[R]:
        """The r worth timing: the card's, or 0 and 8."""
        return (0, 8) if self.card is None else tuple(self.card.merging.r)

    def score(self, r: R | None) -> tuple[float, str, str] | None:
        """What the card knows of accuracy at an r: (per cent, "top1" or "map", "reported" or "measured").

        Published figures come before our own, those with a remark last; a changed architecture has none.
        """
        card = self.card or self.baseline
        if card is None or self.overrides or self.instance is not None:
            return None
        wanted = schedule.format(0 if r is None else r)
        figures = [
            (bool(getattr(figure, "note", "")), kind == "measured", figure, kind)
            for kind, known in (("reported", card.reported), ("measured", getattr(card, "measured", ())))
            for figure in known
            if schedule.format(figure.r) == wanted
        ]
        for *_, figure, kind in sorted(figures, key=lambda entry: entry[:2]):
            for metric in ("top1", "map"):
                if (value := getattr(figure, metric)) is not None:
                    return value, metric, kind
        return None


@dataclass
class ModelPair:
    """A built model in both forms.

    Attributes:
        unmerged: What merging is compared with: timm's own model.
        merging: The merging model on the same parameters; None where there is an
            `unsupported_reason`.
        shape: Of an input without the batch, `[channels, ...]`.
    """

    unmerged: nn.Module
    merging: MergingVisionTransformer | None
    unsupported_reason: str | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one input and who counted them; tokens before the first and behind the last block."""

    macs: int
    counter: str
    tokens_in: int | None = None
    tokens_out: int | None = None


def find_subject(name: str | nn.Module, overrides: Mapping[str, Any] | None = None) -> Subject:
    """The subject of that name, checked as far as that goes without building it; or a merging model as one.

    Raises:
        CardError: If neither the zoo nor timm has the name, or the overrides are no architecture.
        UnsupportedModelError: If it is a model that does not merge.
    """
    overrides = dict(overrides or {})
    if not isinstance(name, str):
        if overrides:
            raise CardError(f"a model that exists already keeps its shape; got overrides of {', '.join(overrides)}")
        model = registry.resolve_model(name)
        return Subject(model.card.name, _changed_fields(model.card), instance=model)
    fields = Architecture.model_fields
    for key in overrides:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CardError(f"{key!r} cannot be set; {hint}The fields are {', '.join(fields)}")
    full = name if name in model_cards() or name in baseline_cards() else full_name(name)
    if full is None:
        known = [*model_cards(), *baseline_cards(), *timm.list_models(), *timm.list_pretrained()]
        near = difflib.get_close_matches(name, known, n=4)
        hint = f"did you mean {' or '.join(near)}?" if near else "`tome-zoo list` names the zoo's"
        raise CardError(f"neither the zoo nor timm {timm.__version__} has a model {name!r}; {hint}")
    if full in model_cards():
        registry.create_model(full, device="meta", **overrides)
    return Subject(full, overrides)


def _changed_fields(card: ModelCard) -> dict[str, Any]:
    """Fields in which a model's architecture differs from that of the card of its name; none if that is not listed."""
    return metadata_of(card).architecture if card.name in model_cards() or full_name(card.name) else {}


def build(subject: Subject, device: torch.device, dtype: torch.dtype = torch.float32) -> ModelPair:
    """Build a subject; its weights are random, for how long a forward takes does not depend on what they say.

    Raises:
        TomeZooError: If timm cannot build it with these overrides.
    """
    model: nn.Module
    if subject.instance is not None:
        model, shape = copy.deepcopy(subject.instance), _input_shape(subject.instance.card.architecture)
    elif subject.baseline is not None:
        model, shape = build_baseline(subject.baseline, subject.overrides)
    elif subject.card is None:
        model, shape = _build_timm(subject)
    else:
        model = own = registry.create_model(subject.name, **subject.overrides)
        shape = _input_shape(own.card.architecture)
    model = model.to(device, dtype).eval()
    unsupported_reason = None if isinstance(model, MergingVisionTransformer) else patching.unsupported_reason(model)
    if unsupported_reason is not None:
        return ModelPair(model, None, f"{subject.name} cannot merge: {unsupported_reason}", shape)
    merging = model if isinstance(model, MergingVisionTransformer) else patching.patch(model)
    return ModelPair(unmerged_form(merging), merging, None, shape)


def unmerged_form(model: MergingVisionTransformer) -> VisionTransformer:
    """timm's own model on the same parameters."""
    return patching.unpatch(patching.share_parameters(model))


def cost(model: nn.Module, r: R | None, shape: tuple[int, ...]) -> Cost:
    """Count one input: in closed form (the paper's convention), or what torch's counter sees of matrix products.

    Args:
        model: Merging, or any other.
        r: Merging schedule; None for a model that does not merge.
        shape: Of an input without the batch.

    Raises:
        ScheduleError: If `r` is no schedule for the model.
    """
    if isinstance(model, VisionTransformer) and (isinstance(model, MergingVisionTransformer) or _plain(model)):
        try:
            counted = count_macs(model, 0 if r is None else r)
        except UnsupportedModelError:
            pass
        else:
            tokens_in = model.patch_embed.num_patches + model.num_prefix_tokens
            return Cost(counted.total, CLOSED_FORM, tokens_in, counted.tokens[-1])
    if r is not None:
        model = patching.share_parameters(model)
        model.r = r  # type: ignore[assignment]
    parameter = next(model.parameters())
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:  # every product of it is seen
        model(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    return Cost(counter.get_total_flops() // 2, FLOP_COUNTER)


def _input_shape(a: Architecture) -> tuple[int, ...]:
    return (a.in_chans, *(() if a.num_frames is None else (a.num_frames,)), *a.size)


def _plain(model: nn.Module) -> bool:
    return patching.unsupported_reason(model) is None


def _build_timm(subject: Subject) -> tuple[nn.Module, tuple[int, ...]]:
    overrides = dict(subject.overrides)
    model = timm_model(subject.name, overrides)
    channels, *size = timm.data.resolve_model_data_config(model)["input_size"]
    side = overrides.get("img_size", size)
    size = [side, side] if isinstance(side, int) else list(side)
    return model, (overrides.get("in_chans", channels), *size)
