"""The loop: batches, steps, evaluations, checkpoints; from wherever the last checkpoint stands."""

import copy
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from tome_zoo import schedule
from tome_zoo.errors import TomeZooError
from tome_zoo.evaluation.evaluator import evaluate
from tome_zoo.evaluation.results import Result
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed
from tome_zoo.system.distributed import Rank
from tome_zoo.training import parallel
from tome_zoo.training.batches import UnreadableFile, training_batches
from tome_zoo.training.checkpoint import load_checkpoint, save_checkpoint
from tome_zoo.training.draws import RankDraws
from tome_zoo.training.engine import Engine, grad_scaler
from tome_zoo.training.history import History
from tome_zoo.training.optimizer import create_optimizer, create_scheduler
from tome_zoo.training.plan import TrainingPlan
from tome_zoo.training.schedule_r import r_of_step, r_trained_for
from tome_zoo.weights.save import save_weights

BEST = "best.safetensors"

_log = logging.getLogger(__name__)


@dataclass
class TrainingRun:
    """A run as it stands.

    Attributes:
        blank: The model without weights, for copies that are evaluated.
        step: Optimiser steps done.
        best: The best mean score so far at the r it is trained for.
        failures: Samples that could not be read, by id.
    """

    plan: TrainingPlan
    engine: Engine
    blank: ZooModel
    rank: Rank
    step: int = 0
    best: float | None = None
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(
        cls, plan: TrainingPlan, model: ZooModel, teacher: nn.Module | None, rank: Rank, *, fsdp: bool, compile: bool
    ) -> "TrainingRun":
        """Wrap the model, and go on from the last checkpoint if there is one.

        Raises:
            CheckpointError: If that is damaged, or of a run with other settings.
        """
        recipe = plan.recipe
        if fsdp and recipe.ema_decay:
            raise TomeZooError("a running average of the weights is not kept of a sharded model: set ema_decay to 0")
        blank = copy.deepcopy(model).to("meta")
        model.set_grad_checkpointing(recipe.checkpointing)
        ema = None if not recipe.ema_decay else ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True)
        if fsdp:
            parallel.shard_model(model, plan.device)
        if compile:
            model.compile()
        optimizer = create_optimizer(model, recipe, plan.lr)
        engine = Engine(
            recipe=recipe,
            model=model,
            network=parallel.wrap_model(model, plan.device, fsdp=fsdp),
            optimizer=optimizer,
            scheduler=create_scheduler(optimizer, recipe, plan.order.steps_per_epoch, plan.total),
            scaler=grad_scaler(recipe, plan.device),
            ema=ema,
            teacher=teacher,
            device=plan.device,
            seed=plan.seed,
            rank=rank.rank,
        )
        run = cls(plan, engine, blank, rank)
        with distributed.raise_together():
            state = load_checkpoint(plan.output, plan.settings)
        if state is not None:
            run._load(state)
        return run

    def _load(self, state: dict[str, Any]) -> None:
        engine = self.engine
        parallel.load_model_state(engine.model, state["model"])
        parallel.load_optimizer_state(engine.model, engine.optimizer, state["optimizer"])
        engine.scaler.load_state_dict(state["scaler"])
        if engine.ema is not None:
            engine.ema.module.load_state_dict(state["ema"])
        self.step, self.best, self.failures = state["step"], state["best"], dict(state["failures"])
        _log.info("going on from step %d of %d", self.step, self.plan.total)

    def save(self) -> None:
        """Write a checkpoint; all ranks have to come here."""
        engine = self.engine
        model, optimizer = parallel.model_state(engine.model), parallel.optimizer_state(engine.model, engine.optimizer)
        every = distributed.all_gather(self.failures)
        with distributed.raise_together():
            if self.rank.rank == 0:
                state = {
                    "settings": json.dumps(self.plan.settings), "step": self.step, "best": self.best,
                    "failures": {k: v for theirs in every for k, v in theirs.items()},
                    "model": model, "optimizer": optimizer, "scaler": engine.scaler.state_dict(),
                    "ema": None if engine.ema is None else engine.ema.module.state_dict(),
                }  # fmt: skip
                save_checkpoint(self.plan.output, state, keep=self.plan.keep)

    def copy_of_model(self, dtype: torch.dtype = torch.float32) -> ZooModel:
        """A model with the present weights, averaged ones if there are, rounded to a dtype; in evaluation mode."""
        engine = self.engine
        state: dict[str, Tensor] = (
            parallel.model_state(engine.model) if engine.ema is None else engine.ema.module.state_dict()
        )
        made = copy.deepcopy(self.blank).to_empty(device=self.plan.device)
        made.load_state_dict({key: value.to(dtype).to(torch.float32) for key, value in state.items()})
        made.patch_drop = nn.Identity()
        return made.eval().requires_grad_(False)


def run_training(
    run: TrainingRun, progress: Callable[[int, int, str], None] | None, dtype: torch.dtype
) -> tuple[list[Result], ZooModel]:
    """Do all steps that are left.

    Args:
        run: From `TrainingRun.start`.
        progress: Called with (steps done, steps in all, loss and score in words).
        dtype: To which the final weights are rounded before they are scored.

    Returns:
        The results of the last evaluation, and the final model.

    Raises:
        TomeZooError: If the loss is no longer finite.
        DataError: If one file after the other cannot be read.
    """
    plan, rank = run.plan, run.rank
    history = History(plan.output, run.step) if rank.rank == 0 else None
    draws = RankDraws(plan.order, run.step, plan.total, rank.rank, rank.world_size)
    batches = training_batches(
        plan.data, run.engine.model.card, plan.recipe, draws,
        size=plan.draws, workers=plan.workers, pin_memory=plan.device.type == "cuda",
    )  # fmt: skip
    run.engine.model.train()
    told, begin, losses = "", time.monotonic(), list[float]()
    try:
        while run.step < plan.total:
            r = r_of_step(plan.recipe, run.step, plan.total, plan.seed)
            taken = [next(batches) for _ in range(plan.accum)]
            for failure in (failure for batch in taken for failure in batch.failures):
                _note(run, failure)
            losses.append(run.engine.step(run.step, r, taken))
            run.step += 1
            last = run.step == plan.total
            if history is not None and (run.step % plan.log_steps == 0 or last):
                history.add(
                    step=run.step, epoch=round(plan.epoch(run.step), 4), loss=sum(losses) / len(losses),
                    lr=run.engine.lr, r=schedule.format(r), failures=len(run.failures),
                    seconds=round(time.monotonic() - begin, 2),
                )  # fmt: skip
                losses.clear()
            if run.step in plan.eval_steps and not last and plan.validation is not None:
                told = _evaluate(run, history)
            if run.step % plan.checkpoint_steps == 0 or run.step in plan.eval_steps or last:
                run.save()
            if progress is not None:
                shown = f"loss {losses[-1]:.3f}" if losses else "training"
                progress(run.step, plan.total, shown + told)
        final = run.copy_of_model(dtype)
        results = _final_results(run, final, history)
    finally:
        batches.close()  # type: ignore[attr-defined]
        if history is not None:
            history.close()
    return results, final


def _note(run: TrainingRun, failure: UnreadableFile) -> None:
    if failure.id not in run.failures:
        run.failures[failure.id] = failure.reason
        _log.warning("%s is left out: %s", failure.id, failure.reason)


def _evaluate(run: TrainingRun, history: History | None) -> str:
    """Evaluate in the middle of a run; the scores in words."""
    plan = run.plan
    model = run.copy_of_model()
    results = _scores(run, model, plan.eval_r, plan.eval_limit)
    trained = {schedule.format(r) for r in r_trained_for(plan.recipe)}
    own = [result.score for result in results if result.r in trained] or [result.score for result in results]
    mean = sum(own) / len(own)
    if run.best is None or mean > run.best:
        run.best = mean
        if run.rank.rank == 0:
            save_weights(model, plan.output / BEST, classes=model.card.classes, dtype=torch.float32)
    if history is not None:
        _tell(history, run.step, results)
    return f", {results[0].metric} " + " / ".join(f"{result.score:.1f}" for result in results)


def _final_results(run: TrainingRun, model: ZooModel, history: History | None) -> list[Result]:
    plan = run.plan
    if plan.validation is None:
        return []
    tried = {schedule.format(r): r for r in (*plan.eval_r, *model.card.merging.r)}
    results = _scores(run, model, tuple(tried.values()), None)
    if history is not None:
        _tell(history, run.step, results)
    return results


def _scores(run: TrainingRun, model: ZooModel, r: tuple[R, ...], limit: int | None) -> list[Result]:
    plan = run.plan
    if plan.validation is None:
        raise AssertionError("there is nothing to evaluate on")
    folder = plan.output / "evaluations" / f"{run.step:08d}"
    batch = max(1, plan.draws * plan.recipe.repeats_per_decode)
    return evaluate(
        model, plan.validation, r=list(r), batch_size=batch, workers=plan.workers, limit=limit, output=folder
    )


def _tell(history: History, step: int, results: list[Result]) -> None:
    history.add(step=step, metric=results[0].metric, scores={result.r: result.score for result in results})
