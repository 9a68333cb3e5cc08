"""What a training leaves: a folder with weights, card and README that lists, evaluates and uploads as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
import torch

from tome_zoo import cards, schedule
from tome_zoo.cards.schema import Measured, ModelCard
from tome_zoo.evaluation.results import Result
from tome_zoo.merge import DEFAULT_REDUCER
from tome_zoo.registry import ZooModel
from tome_zoo.system.files import atomic_write
from tome_zoo.training.curves import draw_curves
from tome_zoo.training.history import HISTORY, read_history
from tome_zoo.training.plan import TrainingPlan
from tome_zoo.weights.save import save_weights

FOLDER = "model"
WEIGHTS = "model.safetensors"
CARD = "card.toml"


def model_name(base: str, output: Path, name: str | None) -> str:
    """`architecture.tag`: the tag is that of `name`, else the name of the run's folder."""
    if name is not None and "." in name:
        return name
    tag = "".join(c if c.isalnum() or c in "_-" else "_" for c in name or output.resolve().name)
    made = f"{base.split('.')[0]}.{tag}"
    return made + "_ft" if made in cards.model_cards() else made


def write_outcome(
    plan: TrainingPlan, model: ZooModel, name: str, results: Sequence[Result], dtype: torch.dtype, license: str
) -> Path:
    """Write `model/` of a run: weights, card, README with the measured table, and the curves.

    Args:
        plan: What was done.
        model: With the final weights.
        name: Of the new model.
        results: Of the last evaluation.
        dtype: Of the weights in the file.
        license: Of the weights.

    Returns:
        The folder, to be named with `--cards`.
    """
    folder = plan.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder / WEIGHTS, classes=model.card.classes, dtype=dtype)
    card = _card(plan, model.card, name, results, license)
    with atomic_write(folder / CARD) as file:
        file.write(tomlkit.dumps({"model": [card]}))
    draw_curves(read_history(plan.output / HISTORY), folder / "curves.png")
    with atomic_write(folder / "README.md") as file:
        file.write(_readme(plan, model.card, name, results, license))
    return folder


def _card(plan: TrainingPlan, card: ModelCard, name: str, results: Sequence[Result], license: str) -> dict[str, Any]:
    """The table of a model card, as TOML takes it."""
    recipe = plan.recipe
    trained = recipe.r[0] if recipe.r_mode == "constant" else recipe.r[-1]
    measured = [
        {key: value for key, value in _measured(result).items() if value is not None}
        for result in _by_cost(results)
        if result.limit is None
    ]
    data: dict[str, Any] = {
        "name": name,
        "modality": card.modality,
        "summary": f"{plan.settings['model']} trained on {plan.data.card.title} by {recipe.id}, r {_told(plan)}.",
        "architecture": card.architecture.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        "input": card.input.model_dump(mode="json", exclude_none=True),
        "weights": {"file": WEIGHTS, "layout": "timm", "license": license, "source": "tome-zoo train"},
        "merging": {
            "prop_attn": recipe.prop_attn if recipe.prop_attn is not None else card.merging.prop_attn,
            "r": [schedule.format(r) for r in plan.eval_r],
            "default_r": schedule.format(trained),
        },
        "dataset": card.dataset,
        "protocol": card.protocol,
    }
    if card.timm is not None:
        data["timm"] = card.timm
    if card.classes:
        data["classes"] = list(card.classes)
    return data | ({"measured": measured} if measured else {})


def _by_cost(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda result: -result.gmacs)


def _measured(result: Result) -> dict[str, Any]:
    known = Measured.model_fields.keys()
    found = {key: value for key, value in result.to_json().items() if key in known}
    found["version"] = result.versions.get("tome-zoo") if "version" in known else None
    return {key: value for key, value in found.items() if key in known}


def _told(plan: TrainingPlan) -> str:
    texts = [schedule.format(r) for r in plan.recipe.r]
    how = "" if plan.recipe.reducer == DEFAULT_REDUCER else f", tokens reduced by {plan.recipe.reducer}"
    if plan.recipe.r_mode == "constant":
        return f"= {texts[0]}{how}"
    kind = "drawn for every step from" if plan.recipe.r_mode == "random" else "by parts of the run"
    return f"{kind} {', '.join(texts)}{how}"


def _readme(plan: TrainingPlan, card: ModelCard, name: str, results: Sequence[Result], license: str) -> str:
    rows = [
        f"| {result.r} | {result.score:.2f} | {result.gmacs:.4g} | {result.samples_per_second:.4g} |"
        for result in _by_cost(results)
    ]
    first = results[0] if results else None
    table = (
        [
            f"Measured on {first.n_scored} samples of `{first.dataset}` ({first.split}), protocol `{first.protocol}`, "
            f"{first.device}, {first.dtype}:",
            "",
            f"| r | {first.metric}, % | GMACs | samples/s |",
            "|---|---|---|---|",
            *rows,
        ]
        if first
        else ["Not evaluated: the data had no validation split."]
    )
    recipe = plan.recipe
    return "\n".join(
        [
            "---",
            f"license: {license.lower() if license else 'other'}",
            "library_name: tome-zoo",
            f"tags: [token-merging, {card.modality}-classification]",
            "---",
            "",
            f"# {name}",
            "",
            f"`{plan.settings['model']}` trained on {plan.data.card.title} ({len(plan.data)} samples, "
            f"{plan.data.num_classes} classes) with Token Merging, r {_told(plan)}.",
            "",
            *table,
            "",
            f"Recipe `{recipe.id}`: {recipe.epochs:g} epochs, {plan.total} steps of {plan.batch_size} samples, peak "
            f"learning rate {plan.lr:.4g}, {recipe.optimizer}, seed {plan.seed}.",
            "",
            "![curves](curves.png)",
            "",
            "```",
            "pip install tome-zoo",
            f"tome-zoo predict {name} FILE --cards DIR   # DIR: this folder",
            "```",
            "",
        ]
    )
