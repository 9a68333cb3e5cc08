"""A plain trainer: a model from nothing, or from the weights it has, on a data set that fits in memory."""

import copy
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from tome_zoo import schedule
from tome_zoo.data.dataset import Dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.registry import ZooModel, require_classifier
from tome_zoo.schedule import R
from tome_zoo.training.augment import chain
from tome_zoo.training.in_memory import Progress, decode, evaluate_examples
from tome_zoo.training.init_weights import start_afresh


@dataclass(frozen=True)
class Epoch:
    """One line of the history. `score` is top-1 or mAP of the averaged weights at r = 0, in per cent."""

    epoch: int
    steps: int
    loss: float
    score: float | None
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Attributes:
        history: One entry an epoch.
        output: The file of weights, if one was asked for.
        seconds: What it took, decoding included.
    """

    history: tuple[Epoch, ...]
    output: Path | None
    seconds: float


def train(
    model: ZooModel,
    data: Dataset,
    *,
    validation: Dataset | None = None,
    epochs: float = 10,
    batch_size: int = 32,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    optimizer: Literal["adamw", "muon"] = "adamw",
    warmup: float = 0.05,
    label_smoothing: float = 0.1,
    average: float = 0.995,
    r: Sequence[R] = (0,),
    augment: Sequence[str] = (),
    from_nothing: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    bfloat16: bool = False,
    output: str | Path | None = None,
    history: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a model and leave it with the running average of its weights.

    Linear warm-up, cosine decay to a fiftieth, gradients clipped to norm 1; cross-entropy, or binary cross-entropy
    where samples have several labels.

    Args:
        model: From `create_model`; trained in place.
        data: The training split; decoded once, into memory.
        validation: Scored after every epoch.
        epochs: Passes over the data; may be a fraction.
        batch_size: Samples a step.
        lr: Peak learning rate.
        weight_decay: Of matrices; vectors and position embeddings have none.
        optimizer: "adamw", or "muon" for the matrices of the blocks and AdamW for the rest: small models that are
            trained from nothing leave the first plateau after far fewer steps.
        warmup: Part of the steps.
        label_smoothing: For one label a sample.
        average: Decay of the running average of the weights, a step.
        r: Merging schedules, one drawn for each step; (0,) trains without merging.
        augment: Names from `tome_zoo.training.augment.AUGMENTATIONS`.
        from_nothing: Start from fresh weights (position embeddings from sines and cosines) instead of the model's own.
        seed: Of weights, order and augmentation; on one machine and thread count the result is reproducible.
        device: Where to compute.
        bfloat16: Compute the forward in bfloat16 where that is safe (autocast).
        output: File of weights to write (safetensors, timm's names, float16), replaced as a whole after every epoch.
        history: File to which every epoch is appended as a line of JSON.
        progress: Called with (steps done, steps in all, loss and score in words).

    Returns:
        The history.

    Raises:
        TomeZooError: If the model has no classifier, a setting is out of range, or the loss is no longer finite; the
            weights of the last finite epoch are in `output` then.
        DataError: If model and data do not fit.
    """
    require_classifier(model)
    if model.num_classes != data.num_classes:
        raise DataError(
            f"the model tells {model.num_classes} classes apart, data set {data.card.name} has "
            f"{data.num_classes}: build it with num_classes={data.num_classes}"
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("lr", lr)):
        if not (value > 0 and math.isfinite(value)):
            raise TomeZooError(f"{name} should be a positive number, got {value!r}")
    if optimizer not in ("adamw", "muon"):
        raise TomeZooError(f"optimizer should be adamw or muon, got {optimizer!r}")
    if not r:
        raise TomeZooError("expected at least one r: (0,) trains without merging")
    for item in r:
        schedule.resolve(item, len(model.blocks))
    vary = chain(augment)

    begin = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    examples = decode(model, data, progress=progress)
    held_out = None if validation is None else decode(model, validation, progress=progress)
    if from_nothing:
        start_afresh(model, generator)
    model.to(device)
    optimizers = _optimizers(model, optimizer, lr, weight_decay)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    kept_r, batch_size = model.r, min(batch_size, len(examples.views))
    per_epoch = len(examples.views) // batch_size
    total = max(1, round(epochs * per_epoch))
    lines: list[Epoch] = []
    order = torch.empty(0, dtype=torch.long)
    running, moved = math.nan, time.monotonic()
    try:
        for step in range(total):
            if len(order) < batch_size:
                order = torch.randperm(len(examples.views), generator=generator)
            chosen, order = order[:batch_size], order[batch_size:]
            factor = _rate(step, total, warmup)
            for group in (group for each in optimizers for group in each.param_groups):
                group["lr"] = lr * factor
            model.train()
            model.r = r[int(torch.randint(len(r), (), generator=generator))]
            x = vary(examples.views[chosen].float(), generator).to(device)
            loss = _loss(model, x, examples.targets[chosen].to(device), label_smoothing, bfloat16)
            value = loss.item()
            if not math.isfinite(value):
                raise TomeZooError(
                    f"the loss is {value} at step {step + 1} of {total}: lower lr (now {lr:g}) or lengthen warmup"
                    + (f"; {output} holds the weights of epoch {len(lines)}" if output and lines else "")
                )
            model.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for each in optimizers:
                each.step()
            _follow(averaged, model, min(average, (step + 1) / (step + 10)))
            running = value if math.isnan(running) else 0.98 * running + 0.02 * value
            if (step + 1) % per_epoch == 0 or step + 1 == total:
                score = None if held_out is None else evaluate_examples(averaged, held_out, device=device)
                lines.append(Epoch(len(lines) + 1, step + 1, running, score, round(time.monotonic() - begin, 1)))
                _record(lines[-1], averaged, output, history)
            if progress is not None and (time.monotonic() - moved > 0.5 or step + 1 == total):
                moved = time.monotonic()
                score_text = "" if not lines or lines[-1].score is None else f", score {lines[-1].score:.1f}"
                progress(step + 1, total, f"training: loss {running:.3f}{score_text}")
    finally:
        model.load_state_dict(averaged.state_dict())
        model.eval()
        model.r = kept_r
    return TrainResult(tuple(lines), None if output is None else Path(output), time.monotonic() - begin)


def save_weights(model: nn.Module, path: str | Path) -> Path:
    """Write a model's tensors as float16 safetensors under timm's names; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(
            save({key: value.detach().half().cpu().contiguous() for key, value in model.state_dict().items()})
        )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _optimizers(model: nn.Module, kind: str, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    parameters = dict(model.named_parameters())
    decayed = {name for name, value in parameters.items() if value.ndim > 1 and name.endswith(".weight")}
    inner = {name for name in decayed if name.startswith("blocks.") and kind == "muon"}
    groups = [
        {"params": [parameters[name] for name in parameters if name in decayed - inner], "weight_decay": weight_decay},
        {"params": [parameters[name] for name in parameters if name not in decayed], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))]
    if inner:
        matrices = [parameters[name] for name in parameters if name in inner]
        optimizers.append(torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def _rate(step: int, total: int, warmup: float) -> float:
    """Part of the peak learning rate at a step."""
    rise = min(1.0, (step + 1) / max(1.0, warmup * total))
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / total)))


def _loss(model: nn.Module, x: Tensor, target: Tensor, label_smoothing: float, bfloat16: bool) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
        logits = model(x)
    if target.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits.float(), target)
    return F.cross_entropy(logits.float(), target, label_smoothing=label_smoothing)


@torch.no_grad()
def _follow(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    kept: list[Tensor] = list(averaged.parameters())
    new: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(kept, new, 1 - decay)


def _record(line: Epoch, model: nn.Module, output: str | Path | None, history: str | Path | None) -> None:
    if output is not None:
        save_weights(model, output)
    if history is not None:
        Path(history).parent.mkdir(parents=True, exist_ok=True)
        with Path(history).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line)) + "\n")
