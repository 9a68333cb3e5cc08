"""Mixing of a batch by timm's Mixup, and the loss."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.data import Mixup
from torch import Tensor, nn

from tome_zoo.cards.schema import RecipeCard

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mixing(recipe: RecipeCard, num_classes: int) -> Mix:
    """What mixes views `[batch, channels, ...]` and targets; without mixup and cutmix it returns them as they are.

    Clips are mixed as pictures with many channels: a box of cutmix goes through all frames. Of an odd batch the last
    view stays as it is. The random numbers are the global ones.
    """
    if recipe.mixup == 0 and recipe.cutmix == 0:
        return lambda views, targets: (views, targets)

    def mix(views: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        mixup = Mixup(
            mixup_alpha=recipe.mixup,
            cutmix_alpha=recipe.cutmix,
            prob=recipe.mixup_prob,
            switch_prob=recipe.mixup_switch_prob,
            mode=recipe.mixup_mode,
            label_smoothing=recipe.label_smoothing,
            num_classes=num_classes,
            **({"multi_label": True} if targets.ndim == 2 else {}),
        )
        flat = views.flatten(1, -3)  # [batch, channels * frames, height, width]
        even = len(flat) // 2 * 2
        mixed, soft = mixup(flat[:even], targets[:even]) if even else (flat[:0], targets[:0])
        if even < len(flat):
            mixup.mixup_enabled = False
            pair = torch.cat([flat[-1:], flat[-1:]]), torch.cat([targets[-1:], targets[-1:]])
            _, alone = mixup(*pair)
            mixed = torch.cat([mixed, flat[-1:]])
            soft = torch.cat([soft, alone[:1]]) if even else alone[:1]
        return mixed.view_as(views), soft

    return mix


def classification_loss(recipe: RecipeCard, logits: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a batch.

    Args:
        recipe: Which loss, and how labels are smoothed.
        logits: `[batch, classes]`.
        targets: Class indices `[batch]`, or weights of classes `[batch, classes]`, smoothed already where mixed.
    """
    logits = logits.float()
    if recipe.loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, targets.float())
    return F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing if targets.ndim == 1 else 0.0)


def distillation_loss(recipe: RecipeCard, logits: Tensor, teacher: Tensor) -> Tensor:
    """How far the logits are from a teacher's: Kullback-Leibler divergence of softened softmax, or cross-entropy of
    sigmoids for several labels.

    Source: Hinton et al., arXiv 1503.02531.
    """
    heat = recipe.distill_temperature
    if recipe.loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits.float() / heat, (teacher.float() / heat).sigmoid())
    student, goal = F.log_softmax(logits.float() / heat, dim=1), F.log_softmax(teacher.float() / heat, dim=1)
    return heat**2 * F.kl_div(student, goal, reduction="batchmean", log_target=True)


def training_loss(
    recipe: RecipeCard, model: nn.Module, teacher: nn.Module | None, views: Tensor, targets: Tensor
) -> Tensor:
    """The forward of a batch and its loss, with the teacher's share if there is one."""
    logits = model(views)
    loss = classification_loss(recipe, logits, targets)
    if teacher is None:
        return loss
    with torch.no_grad():
        goal = teacher(views)
    weight = recipe.distill_weight
    return (1 - weight) * loss + weight * distillation_loss(recipe, logits, goal)
