"""The forms of a model that are timed against each other, and what one call of each does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tome_zoo.benchmark import models, timing
from tome_zoo.benchmark.explicit import explicit
from tome_zoo.benchmark.models import Cost, ModelPair, Subject
from tome_zoo.benchmark.settings import BenchmarkSettings
from tome_zoo.merge import DEFAULT_REDUCER, Reducer, ReducerInputs, Reduction
from tome_zoo.schedule import R, resolve
from tome_zoo.system.compiler import require_compiler
from tome_zoo.system.devices import DTYPES
from tome_zoo.transformer import patching
from tome_zoo.transformer.paths import attention_path, describe_fast_path
from tome_zoo.transformer.vit import MergingVisionTransformer


@dataclass
class Variant:
    """One form of a model: timm's own (r is None), or merging at r; without `model` where it cannot be had.

    Attributes:
        reducer: How it reduces tokens.
        explicit: Merging with every step written out, instead of ours.
    """

    r: R | None
    reducer: str = DEFAULT_REDUCER
    model: nn.Module | None = None
    cost: Cost | None = None
    status: str = "ok"
    reason: str = ""
    attention: str | None = None
    fast_path: str | None = None
    explicit: bool = False


def prepare(subject: Subject, dtype: str, settings: BenchmarkSettings) -> tuple[ModelPair | None, list[Variant]]:
    """Build all forms of a model, timm's own first, then one for each r; those that cannot be had say why."""
    schedules = settings.r if settings.r is not None else subject.schedules
    try:
        built = models.build(subject, settings.device, torch.float32 if settings.train else DTYPES[dtype])
        built.unmerged.requires_grad_(settings.train)  # parameters are shared
        forms = [Variant(None, model=built.unmerged, cost=models.cost(built.unmerged, None, built.shape))]
    except Exception as error:
        status, reason = timing.status_and_reason(error)
        return None, [Variant(r, status=status, reason=reason) for r in (None, *schedules)]
    if built.merging is not None:
        forms += [_merging(built.merging, r, built.shape, name) for name in settings.reducers for r in schedules]
        if settings.reduction_share:
            forms += [_merging(built.merging, r, built.shape, DROP_LAST) for r in schedules if r != 0]
        if settings.explicit:
            written_out = explicit(built.merging)
            forms += [replace(_merging(written_out, r, built.shape), explicit=True) for r in schedules]
    elif settings.r is not None:  # its own form is what r = 0 asks for
        forms += [Variant(r, status="refused", reason=built.unsupported_reason or "") for r in schedules if r != 0]
    for form in forms:
        if form.model is not None:
            form.attention = _attention(form, DTYPES[dtype], settings)
            form.fast_path = _fast_path(form)
            form.model.train(settings.train)
            try:
                _configure(form, settings)
            except Exception as error:
                form.model, (form.status, form.reason) = None, timing.status_and_reason(error)
    return built, forms


def _drop_last(inputs: ReducerInputs, r: int, protected: int) -> Reduction:
    """The least that any reduction does: the first tokens are copied, whatever they say."""
    batch, n_tokens, _ = inputs.x.shape
    kept = torch.arange(n_tokens - r, device=inputs.x.device).expand(batch, -1)
    assign = torch.arange(n_tokens, device=inputs.x.device).clamp(max=n_tokens - r - 1).expand(batch, -1)
    return Reduction(assign, n_tokens - r, keep=kept)


DROP_LAST = Reducer("drop the last", _drop_last)


def _merging(
    model: MergingVisionTransformer, r: R, shape: tuple[int, ...], chosen: str | Reducer = DEFAULT_REDUCER
) -> Variant:
    reducer = chosen if isinstance(chosen, str) else chosen.name
    try:
        form = patching.share_parameters(model)
        form.reducer = chosen
        cost = models.cost(form, r, shape)
        form.r = r
    except Exception as error:
        status, reason = timing.status_and_reason(error)
        return Variant(r, reducer, status=status, reason=reason)
    return Variant(r, reducer, form, cost)


def _configure(form: Variant, settings: BenchmarkSettings) -> None:
    """Checkpointing and compilation as planned; compilation happens in the first call."""
    model: Any = form.model
    if settings.checkpointing:
        model.set_grad_checkpointing(True)
    if settings.compile is not None and isinstance(model, MergingVisionTransformer) and form.r is not None:
        model.compile(mode=settings.compile)
    elif settings.compile is not None:  # timm's model, whole, with what the mode gives ours
        options: dict[str, Any] = {}
        if settings.compile == "cuda-graph":
            options = {"mode": "reduce-overhead"}
        elif settings.compile == "graph" and settings.device.type == "cpu":
            options = {"options": {"freezing": True}}
        require_compiler(settings.device.type)
        nn.Module.compile(model, dynamic=False, **options)


def _attention(form: Variant, dtype: torch.dtype, settings: BenchmarkSettings) -> str | None:
    """The kernel of the first block at inference, where it is known."""
    blocks: Any = getattr(form.model, "blocks", None)
    if settings.train or not blocks or not hasattr(getattr(blocks[0], "attn", None), "fused_attn"):
        return None
    if form.explicit:
        return "explicit softmax"
    return attention_path(form.model, settings.device, dtype, 0 if form.r is None else form.r)


def _fast_path(form: Variant) -> str | None:
    """What a merging form reads and what it calls; at r = 0 timm's forward runs."""
    model = form.model
    if form.explicit or not isinstance(model, MergingVisionTransformer) or not any(resolve(model.r, len(model.blocks))):
        return None
    return describe_fast_path(model)


def steps(
    models: ModelPair, timed: Sequence[Variant], dtype: torch.dtype, batch_size: int, settings: BenchmarkSettings
) -> list[timing.Step]:
    """What is called in turn: every form of the model on the same inputs.

    Args:
        models: For the shape of an input and the number of classes.
        timed: The forms; each has a model.
        dtype: Of inputs in inference, of autocast in training.
        batch_size: Inputs a call.
        plan: For device, and whether to train.
    """
    networks: list[Any] = [form.model for form in timed]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch_size, *models.shape, generator=generator)
    if not settings.train:
        inputs = inputs.to(settings.device, dtype)
        return [partial(_infer, model, inputs) for model in networks]
    inputs = inputs.to(settings.device)
    width = getattr(models.unmerged, "num_classes", 0) or models.unmerged.num_features
    labels = torch.randint(int(width), (batch_size,), generator=generator).to(settings.device)  # type: ignore[arg-type]
    return [partial(training_step, model, inputs, labels, dtype) for model in networks]


def _infer(model: nn.Module, inputs: Tensor) -> None:
    if inputs.device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # outputs of the last call may be overwritten
    with torch.inference_mode():
        model(inputs)


def training_step(model: nn.Module, inputs: Tensor, labels: Tensor, dtype: torch.dtype) -> None:
    """Gradients of the cross-entropy: old ones cleared, forward and loss under autocast, backward.

    The weights are left as they are: an optimiser's step costs the same whatever merges.

    Args:
        model: In training mode, parameters in float32.
        inputs: float32, `[batch, ...]`.
        labels: Class numbers, `[batch]`.
        dtype: Of the forward; float32 means no autocast.
    """
    model.zero_grad(set_to_none=True)
    with torch.autocast(inputs.device.type, dtype, enabled=dtype != torch.float32):
        loss = F.cross_entropy(model(inputs).float(), labels)
    loss.backward()
