"""Ranks that were given different things do not add up: they say so before they work."""

import hashlib
import json
from collections.abc import Mapping

from tome_zoo import schedule
from tome_zoo.errors import DataError
from tome_zoo.evaluation.plan import NOT_IN_SCORES, Plan
from tome_zoo.system import distributed, provenance


def require_agreement(plan: Plan, resume: bool) -> None:
    """See that all ranks evaluate the same.

    Raises:
        DataError: In every rank, if they do not; the message names the ranks and in what they differ.
    """
    differences = find_differences(distributed.all_gather(conditions_of(plan, resume)))
    if differences:
        raise DataError(
            f"ranks must evaluate the same, but {'; '.join(differences)}: give all of them the same command, files and "
            "installation"
        )


def conditions_of(plan: Plan, resume: bool) -> dict[str, str]:
    """All that ranks must have in common, by name."""
    listing = [[sample.id, sample.target] for sample in plan.data.samples]
    return {
        "model": plan.card.name,
        "weights": plan.weights,
        "model card": _digest(plan.card.model_dump_json(exclude={"reported", "measured", "weights"})),
        "r": " ".join(map(schedule.format, plan.schedules)),
        "prop_attn": str(plan.prop_attn),
        "data set": plan.data.card.name,
        "split": plan.data.split,
        "data listing": f"{len(listing)} samples, digest {_digest(json.dumps(listing))}",
        "protocol": plan.protocol.id,
        "protocol card": _digest(plan.protocol.model_dump_json(exclude=NOT_IN_SCORES)),
        "limit": str(plan.limit),
        "batch size": str(plan.batch_size),
        "device": plan.device.type,
        "dtype": plan.dtype,
        "resume": str(resume),
        "time_timm": str(plan.time_timm),
        "commit": str(provenance.commit()),
        **{f"version of {name}": version for name, version in plan.versions.items()},
    }


def find_differences(everyones: list[dict[str, str]]) -> list[str]:
    """A text for each condition in which ranks differ: what each of them has."""
    names = list(dict.fromkeys(name for conditions in everyones for name in conditions))
    found = []
    for name in names:
        ranks: dict[str, list[int]] = {}
        for rank, conditions in enumerate(everyones):
            ranks.setdefault(conditions.get(name, "none"), []).append(rank)
        if len(ranks) > 1:
            found.append(f"{name} is {_listed(ranks)}")
    return found


def _listed(ranks: Mapping[str, list[int]]) -> str:
    return ", ".join(
        f"{value} at rank{'s' if len(numbers) > 1 else ''} {' '.join(map(str, numbers))}"
        for value, numbers in ranks.items()
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
