"""What a training is to do, all checked before anything is decoded."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tome_zoo import schedule
from tome_zoo.cards.schema import RecipeCard
from tome_zoo.data.dataset import Dataset
from tome_zoo.errors import TomeZooError
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.training.checkpoint import digest
from tome_zoo.training.draws import DrawOrder, class_weights
from tome_zoo.training.optimizer import peak_lr
from tome_zoo.training.schedule_r import r_to_evaluate

MOST_VIEWS = 32  # views a forward where nobody says how many


@dataclass(frozen=True)
class TrainingPlan:
    """What a training is to do.

    Attributes:
        recipe: With the user's own settings.
        data: The training split.
        validation: What it is evaluated on; None for nothing.
        output: Folder of the run.
        order: Which sample is drawn when.
        draws: Draws of a forward, of each rank.
        accum: Forwards of an optimiser step.
        total: Optimiser steps.
        lr: Peak learning rate.
        eval_r: Where it is evaluated.
        eval_limit: At most that many samples, but in the last evaluation.
        eval_steps: After which steps.
        checkpoint_steps: A checkpoint is written after that many steps, after evaluations and at the end.
        keep: Checkpoints that stay.
        log_steps: Steps for one line of the history.
        workers: Processes that decode.
        settings: What has to be the same for a run to go on, as plain values.
    """

    recipe: RecipeCard
    data: Dataset
    validation: Dataset | None
    output: Path
    order: DrawOrder
    draws: int
    accum: int
    total: int
    lr: float
    eval_r: tuple[R, ...]
    eval_limit: int | None
    eval_steps: frozenset[int]
    checkpoint_steps: int
    keep: int
    log_steps: int
    workers: int
    device: torch.device
    seed: int
    settings: dict[str, Any]

    @property
    def batch_size(self) -> int:
        """Views of an optimiser step, over all ranks."""
        return self.order.per_step * self.recipe.repeats_per_decode

    def epoch(self, step: int) -> float:
        """Epochs done after that many steps."""
        return step / self.order.steps_per_epoch


def plan_training(
    model: ZooModel,
    recipe: RecipeCard,
    data: Dataset,
    validation: Dataset | None,
    output: Path,
    *,
    ranks: int,
    batch_size: int | None,
    accum: int | None,
    eval_r: tuple[R, ...] | None,
    checkpoint_steps: int | None,
    facts: dict[str, Any],
    **others: Any,
) -> TrainingPlan:
    """A plan; `facts` is what else has to be the same for a run to go on, `others` are fields of the plan.

    Raises:
        TomeZooError: If a number is out of range.
        ScheduleError: If an r is no schedule for the model.
    """
    for name, number in (
        ("batch_size", batch_size), ("accum", accum), ("checkpoint_steps", checkpoint_steps),
        *((name, others[name]) for name in ("keep", "log_steps", "eval_limit")),
    ):  # fmt: skip
        if number is not None and number < 1:
            raise TomeZooError(f"{name} should be at least 1, got {number}")
    tried = r_to_evaluate(recipe) if eval_r is None else eval_r
    for r in (*recipe.r, *tried):
        schedule.resolve(r, len(model.blocks))
    seed = others["seed"]
    views, forwards = _batches(recipe, recipe.samples_per_epoch or len(data), ranks, batch_size, accum)
    draws = max(1, views // recipe.repeats_per_decode)
    order = _order(recipe, data, draws * ranks * forwards, seed)
    total = max(2, round(recipe.epochs * order.steps_per_epoch))
    lr = peak_lr(recipe, order.per_step * recipe.repeats_per_decode)
    settings = {
        **facts, "recipe": recipe.model_dump(mode="json", exclude={"summary", "models", "sources", "evaluations"}),
        "samples": digest([sample.id for sample in data.samples]), "samples a step": order.per_step, "seed": seed,
    }  # fmt: skip
    count = min(recipe.evaluations, total)
    return TrainingPlan(
        recipe=recipe,
        data=data,
        validation=validation,
        output=output,
        order=order,
        draws=draws,
        accum=forwards,
        total=total,
        lr=lr,
        eval_r=tried,
        eval_steps=frozenset(round(total * part / count) for part in range(1, count + 1)),
        checkpoint_steps=checkpoint_steps or order.steps_per_epoch,
        settings=settings,
        **others,
    )


def _order(recipe: RecipeCard, data: Dataset, per_step: int, seed: int) -> DrawOrder:
    """Which samples are drawn when."""
    return DrawOrder(
        n_samples=len(data),
        per_epoch=recipe.samples_per_epoch or len(data),
        per_step=per_step,
        repeats=recipe.repeated_augmentation,
        weights=class_weights(data) if recipe.sampling == "class_balanced" else None,
        seed=seed,
    )


def _batches(
    recipe: RecipeCard, per_epoch: int, ranks: int, batch_size: int | None, accum: int | None
) -> tuple[int, int]:
    """(views a forward of each rank, forwards a step), so that a step has the recipe's batch unless both are given."""
    repeats = recipe.repeats_per_decode
    wanted = min(recipe.batch_size, max(per_epoch, ranks) * repeats) / ranks  # views a rank and step
    if batch_size is None and accum is None:
        accum = math.ceil(wanted / MOST_VIEWS)
    if batch_size is None:
        return max(repeats, round(wanted / (accum or 1))), accum or 1
    if batch_size % repeats:
        raise TomeZooError(
            f"batch_size {batch_size} is no multiple of the {repeats} augmentations made of each file "
            "(repeats_per_decode)"
        )
    return batch_size, accum or max(1, round(wanted / batch_size))
