"""Training with merging in the loop: one trainer for images, videos and sounds, from one CPU to many GPUs."""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tome_zoo import cards, registry, schedule
from tome_zoo.cards.schema import DatasetCard, RecipeCard
from tome_zoo.data.dataset import Dataset, open_dataset
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.evaluation.results import Result
from tome_zoo.registry import ZooModel
from tome_zoo.schedule import R
from tome_zoo.system import distributed
from tome_zoo.system.devices import DTYPES, choose_device, decoders
from tome_zoo.training.checkpoint import checkpoints
from tome_zoo.training.model import build_model, prepare_model
from tome_zoo.training.outcome import model_name, write_outcome
from tome_zoo.training.plan import plan_training
from tome_zoo.training.recipe import choose_recipe, with_settings
from tome_zoo.training.run import TrainingRun, run_training

TrainingProgress = Callable[[int, int, str], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Attributes:
        name: Of the new model.
        output: Folder of the run: `history.jsonl`, `checkpoints/`, `best.safetensors`, `evaluations/`.
        folder: The new model's: card, weights, README; to be named with `--cards`, or uploaded.
        results: Of the last evaluation; none without a validation split.
        steps: Optimiser steps.
        failures: How many samples could not be read.
        seconds: Of this call.
    """

    name: str
    output: Path
    folder: Path
    results: tuple[Result, ...]
    steps: int
    failures: int
    seconds: float


def train(
    model: ZooModel | str,
    data: Dataset | str | Path,
    *,
    recipe: RecipeCard | str | None = None,
    r: R | Sequence[R] | None = None,
    r_mode: str | None = None,
    output: str | Path,
    resume: bool = False,
    validation: Dataset | None = None,
    dataset: DatasetCard | str | None = None,
    split: str = "train",
    data_format: str | None = None,
    protocol: str | None = None,
    weights: str | Path | None = None,
    use_ema: bool | None = None,
    teacher: ZooModel | str | None = None,
    name: str | None = None,
    batch_size: int | None = None,
    accum: int | None = None,
    fsdp: bool = False,
    compile: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    workers: int | None = None,
    eval_r: Sequence[R] | None = None,
    eval_limit: int | None = None,
    checkpoint_steps: int | None = None,
    keep: int = 2,
    log_steps: int = 10,
    save_dtype: str = "float32",
    license: str | None = None,
    progress: TrainingProgress | None = None,
    architecture: dict[str, Any] | None = None,
    **settings: Any,
) -> TrainResult:
    """Train a model with merging, and leave it as a card with weights.

    Under `torchrun` the ranks share every step. Killed at any moment, the same call with `resume=True` goes on from the
    last checkpoint and ends with the same weights.

    Args:
        model: A name, or a model from `create_model` or a timm model after `tome_zoo.patch`, which is trained in place
            from the weights it has.
        data: From `open_dataset`, or its folder.
        recipe: Card or name; None takes the model's own, or `finetune_` and the modality.
        r: What merges, one schedule or several; None takes the recipe's. A block-by-block one is written [[9, 0, 4]].
        r_mode: "constant", "scheduled" or "random", as `RecipeCard.r_mode`; None is "random" for several r.
        output: Folder of the run; ranks on several machines have to share it.
        resume: Go on from the last checkpoint in `output`, if there is one.
        validation: None takes the validation split of the folder, if there is one.
        dataset: Card or name of what lies at `data`; None takes the model card's.
        split: What is trained on.
        data_format: How the data lie on disk; None finds out.
        protocol: Name of the protocol that scores; None takes the model card's if it suits the data.
        weights: For a name: a file or URL to start from instead of the card's weights.
        use_ema: Of raw and averaged weights in that file, whether to take the averaged ones; None does as timm does.
        teacher: A model or name whose outputs are learnt too; it does not merge.
        name: Of the new model; None makes one of the architecture and the folder's name.
        batch_size: Views a forward of each rank; None fits the recipe's batch.
        accum: Forwards an optimiser step; None fits the recipe's batch.
        fsdp: Shard the model over the ranks.
        compile: Compile the blocks.
        seed: Of weights, order and augmentation.
        device: None takes CUDA where there is a device.
        workers: Processes that decode; None takes as many as evaluation does.
        eval_r: Where it is evaluated; None takes 0 and what it was trained with, at the end the card's too.
        eval_limit: At most that many samples, but in the last evaluation.
        checkpoint_steps: How often to write a checkpoint; None once an epoch.
        keep: Checkpoints that stay.
        log_steps: Steps for one line of `history.jsonl`.
        save_dtype: Of the weights that are left.
        license: Of the weights that are left; None takes that of the weights it starts from.
        progress: Called with (steps done, steps in all, loss and score in words).
        architecture: Overrides for a name: img_size, num_frames, ...
        **settings: Fields of `RecipeCard`: epochs, lr, dtype, checkpointing, drop_path, ...

    Raises:
        TomeZooError: If something does not fit, or the loss is no longer finite; it names the files of that batch, and
            the last checkpoint is kept.
        DataError: If the data are not there, or one file after the other cannot be read.
    """
    begin = time.monotonic()
    output = Path(output)
    with distributed.process_group() as rank:
        with distributed.raise_together():
            base = cards.model_card(model) if isinstance(model, str) else registry.resolve_model(model).card
            chosen = recipe if isinstance(recipe, RecipeCard) else choose_recipe(base, recipe)
            chosen = with_settings(chosen, **_merging(r, r_mode), **settings)
            if save_dtype not in DTYPES:
                raise TomeZooError(f"save_dtype should be one of {', '.join(DTYPES)}; got {save_dtype!r}")
            if checkpoints(output) and not resume:
                raise TomeZooError(f"{output} holds a run already: go on with it (--resume), or name another output")
            training, held_out = _open(data, dataset or base.dataset, split, data_format, validation)
            on = choose_device(device)
            if isinstance(model, str):
                network = build_model(
                    model, training, chosen, weights=weights, use_ema=use_ema, protocol=protocol, seed=seed,
                    **(architecture or {}),
                )  # fmt: skip
            else:
                network = prepare_model(model, training, chosen, protocol=protocol, seed=seed)
            plan = plan_training(
                network, chosen, training, held_out, output,
                ranks=rank.world_size, batch_size=batch_size, accum=accum,
                eval_r=None if eval_r is None else tuple(eval_r), checkpoint_steps=checkpoint_steps,
                facts={"model": base.name, "weights": None if weights is None else str(weights), "use_ema": use_ema},
                eval_limit=eval_limit, keep=keep, log_steps=log_steps, device=on, seed=seed,
                workers=decoders(on) if workers is None else workers,
            )  # fmt: skip
            guide = None if teacher is None else _teacher(teacher, training, on)
        run = TrainingRun.start(plan, network.to(on), guide, rank, fsdp=fsdp, compile=compile)
        results, final = run_training(run, progress, DTYPES[save_dtype])
        with distributed.raise_together():
            new = model_name(base.name, output, name)
            folder = output / "model"
            if rank.rank == 0:
                terms = license or (base.weights.license if base.weights and chosen.start == "pretrained" else "")
                folder = write_outcome(plan, final, new, results, DTYPES[save_dtype], terms or "other")
        unreadable = set[str]().union(*distributed.all_gather(set(run.failures)))
        return TrainResult(new, output, folder, tuple(results), plan.total, len(unreadable), time.monotonic() - begin)


def _merging(r: Any, r_mode: str | None) -> dict[str, Any]:
    """The fields of a recipe that say what merges."""
    if r is None:
        return {"r_mode": r_mode}
    one = isinstance(r, Integral) or schedule.is_linear(r)
    several = (r,) if one else tuple(r)
    return {"r": several, "r_mode": r_mode or ("constant" if len(several) == 1 else "random")}


def _open(
    data: Dataset | str | Path, card: DatasetCard | str, split: str, data_format: str | None, validation: Dataset | None
) -> tuple[Dataset, Dataset | None]:
    """The split to train on, and the one to evaluate on."""
    if isinstance(data, Dataset):
        return data, validation
    card = cards.dataset_card(card) if isinstance(card, str) else card
    training = open_dataset(data, card, split, data_format)
    if validation is None and "val" in card.splits:
        try:
            validation = open_dataset(data, card, "val", data_format)
        except DataError as error:
            _log.warning("no evaluation: %s", error)
    return training, validation


def _teacher(teacher: ZooModel | str, data: Dataset, device: torch.device) -> nn.Module:
    """The model that is learnt from, unmerged and as it is."""
    model = registry.create_model(teacher, pretrained=True) if isinstance(teacher, str) else copy.deepcopy(teacher)
    if model.num_classes != data.num_classes:
        raise DataError(
            f"the teacher tells {model.num_classes} classes apart, the data have {data.num_classes}: "
            "take one that was trained on the same classes"
        )
    model.r = 0
    return model.to(device).eval().requires_grad_(False)
