"""Parameter groups, optimiser and schedule, by timm."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn

from tome_zoo.cards.schema import RecipeCard


class _Layers:
    """A model as `param_groups_layer_decay` asks it: embeddings, the blocks, then all else, the last norm included.

    timm counts the norm behind the blocks to the last of them; the published recipes count it to the head.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._model.named_parameters()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^cls_token|reg_token|pos_embed|patch_embed|norm_pre", "blocks": [(r"^blocks\.(\d+)", None)]}


def parameter_groups(model: nn.Module, recipe: RecipeCard) -> list[dict[str, Any]]:
    """timm's groups: no decay of vectors, positions and tokens; with `layer_decay` a rate for every layer (lr_scale).

    With L blocks layer 0 is the embeddings, block i layer i + 1, all else layer L + 1; the scale of layer k is
    `layer_decay ** (L + 1 - k)`.
    """
    kept: Any = getattr(model, "no_weight_decay", set)()
    options = {"weight_decay": recipe.weight_decay, "no_weight_decay_list": kept, "fallback_list": recipe.fallback}
    if recipe.layer_decay is None:
        return param_groups_weight_decay(model, **options)
    return param_groups_layer_decay(_Layers(model), layer_decay=recipe.layer_decay, **options)


def create_optimizer(model: nn.Module, recipe: RecipeCard, lr: float) -> torch.optim.Optimizer:
    """timm's optimiser of that name over `parameter_groups`."""
    groups = parameter_groups(model, recipe)
    return create_optimizer_v2(groups, opt=recipe.optimizer, lr=lr, weight_decay=0.0, betas=recipe.betas)


def create_scheduler(
    optimizer: torch.optim.Optimizer, recipe: RecipeCard, steps_per_epoch: int, total: int
) -> Scheduler:
    """Linear warm-up from 0, then half a cosine to `min_lr`; `step_update(step)` sets the rates of a step."""
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), total - 1)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=total - warmup,
        warmup_epochs=warmup,
        warmup_lr=0.0,
        warmup_prefix=True,
        min_lr=recipe.min_lr,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return scheduler


def peak_lr(recipe: RecipeCard, batch_size: int) -> float:
    """The peak learning rate for that many samples a step."""
    if recipe.lr is not None:
        return recipe.lr
    if recipe.base_lr is None:
        raise AssertionError("a recipe has lr or base_lr")
    return recipe.base_lr * batch_size / recipe.lr_batch
