"""One optimiser step: forwards and backwards of its batches, in lower precision where that is asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Generator, Tensor, nn

from tome_zoo.cards.schema import RecipeCard
from tome_zoo.errors import TomeZooError
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed
from tome_zoo.system.devices import DTYPES
from tome_zoo.training.augment.tensors import chain
from tome_zoo.training.batches import TrainingBatch
from tome_zoo.training.losses import mixing, training_loss
from tome_zoo.training.parallel import accumulating, mean_over_ranks
from tome_zoo.training.seeds import derive, seed_all


@dataclass
class Engine:
    """What changes while a model trains.

    Attributes:
        model: The model itself.
        network: What its forward goes through (DDP).
        teacher: Whose outputs are learnt too; None for none.
    """

    recipe: RecipeCard
    model: ZooModel
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    scaler: torch.amp.GradScaler
    ema: ModelEmaV3 | None
    teacher: nn.Module | None
    device: torch.device
    seed: int
    rank: int

    def __post_init__(self) -> None:
        """Make what the recipe asks for."""
        self._vary = chain(self.recipe.tensor_augment)
        self._mix = mixing(self.recipe, self.model.num_classes)

    def step(self, number: int, r: R, batches: Sequence[TrainingBatch]) -> float:
        """Do one optimiser step.

        Args:
            number: How many were done before; random numbers depend on it alone.
            r: What merges.
            batches: Forwards of this rank, accumulated.

        Returns:
            The mean loss over batches and ranks.

        Raises:
            TomeZooError: In every rank, if the loss is not finite in one; nothing has been changed then. It names the
                files.
        """
        self.scheduler.step_update(number)
        self.model.r = r
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for position, batch in enumerate(batches):
            seed = derive(self.seed, "step", number, position)
            with accumulating(self.network, last=position + 1 == len(batches)):
                loss = self._forward(batch, seed)
                self.scaler.scale(loss / len(batches)).backward()
            losses.append(loss.detach())
        mean = mean_over_ranks(torch.stack(losses).mean())
        if not math.isfinite(mean):
            self._refuse(number, mean, batches, losses)
        if self.recipe.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model, step=number + 2)  # timm counts the first as its copy
        return mean

    @property
    def lr(self) -> float:
        """The largest learning rate of the last step."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def _forward(self, batch: TrainingBatch, seed: int) -> Tensor:
        views = batch.views.to(self.device, non_blocking=True)
        targets = batch.targets.to(self.device, non_blocking=True)
        seed_all(seed)  # of mixing, the same in all ranks
        views = self._vary(views, Generator().manual_seed(seed))
        views, targets = self._mix(views, targets)
        seed_all(derive(seed, self.rank))  # of drop path and dropout
        dtype = DTYPES[self.recipe.dtype]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return training_loss(self.recipe, self.network, self.teacher, views, targets)

    def _refuse(self, number: int, mean: float, batches: Sequence[TrainingBatch], losses: Sequence[Tensor]) -> None:
        own = [
            name
            for batch, loss in zip(batches, losses, strict=True)
            if not math.isfinite(loss.item())
            for names in batch.ids
            for name in names
        ]
        names = list(dict.fromkeys(name for theirs in distributed.all_gather(own) for name in theirs))
        told = ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else "")
        raise TomeZooError(
            f"the loss is {mean} at step {number + 1}, on a batch of {told}: lower lr, lengthen the warm-up or take "
            "bfloat16; the last checkpoint is kept"
        )


def grad_scaler(recipe: RecipeCard, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss in float16, where small gradients would vanish; else it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=recipe.dtype == "float16")
