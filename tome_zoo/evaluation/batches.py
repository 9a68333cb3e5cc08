"""The batches that are left to do, and their samples decoded."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tome_zoo.data.decode import Decoded, decode
from tome_zoo.data.stamp import Stamp, is_unchanged
from tome_zoo.evaluation.plan import Plan
from tome_zoo.system import distributed
from tome_zoo.system.distributed import Rank


class Batch(NamedTuple):
    """Samples that are decoded together.

    Attributes:
        indices: All that are lacking at some r.
        lacking: Those that are lacking at each r.
    """

    indices: tuple[int, ...]
    lacking: tuple[tuple[int, ...], ...]


def pending(chosen: Sequence[int], size: int, done: Sequence[set[int]]) -> list[Batch]:
    """The batches that are left to do.

    Batches are fixed stretches of the chosen samples, whoever computes them and however often the work was interrupted,
    so that a sample always goes through the model in the same company: its scores come out the same to the last bit.

    Args:
        chosen: Samples of the evaluation.
        size: Samples a batch.
        done: Samples that have scores already, at each r.
    """
    found = []
    for start in range(0, len(chosen), size):
        stretch = chosen[start : start + size]
        lacking = tuple(tuple(i for i in stretch if i not in have) for have in done)
        indices = tuple(i for i in stretch if any(i in lack for lack in lacking))
        if indices:
            found.append(Batch(indices, lacking))
    return found


def own_batches(
    chosen: Sequence[int], size: int, done: Sequence[set[int]], rank: Rank
) -> tuple[list[Batch], list[Sequence[set[int]]]]:
    """This rank's turns of the batches that no rank has done, and what each rank has; all ranks ask together.

    Args:
        chosen: As of `pending`; likewise `size`.
        size: Samples a batch.
        done: At each r the samples that this rank has.
        rank: This process.
    """
    done_by_rank = distributed.all_gather(done)
    done_by_any = [set[int]().union(*theirs) for theirs in zip(*done_by_rank, strict=True)]
    return pending(chosen, size, done_by_any)[rank.rank :: rank.world_size], done_by_rank


def share_out(plan: Plan, done: Sequence[set[int]], rank: Rank) -> tuple[list[Batch], list[set[str]]]:
    """What this rank has to do, and what only it has; all ranks ask together.

    Args:
        plan: The evaluation.
        done: At each r the samples that this rank's disk holds scores of.
        rank: This process.

    Returns:
        Its batches, and at each r the ids of samples that it alone has scores of, or it as the first of several ranks.
    """
    batches, done_by_rank = own_batches(plan.chosen, plan.samples_per_batch, done, rank)
    before = done_by_rank[: rank.rank]
    only_here = [
        {plan.data.samples[i].id for i in own.difference(*(theirs[n] for theirs in before))}
        for n, own in enumerate(done)
    ]
    return batches, only_here


def scored_indices(plan: Plan, stored: Sequence[dict[str, Stamp]]) -> list[set[int]]:
    """At each r the chosen samples that have scores, of the files that lie there now.

    Args:
        plan: The evaluation.
        stored: At each r the stamps of the samples that have scores, by id.
    """
    samples, known = plan.data.samples, dict[tuple[int, Stamp], bool]()
    found = []
    for stamps in stored:
        scored = [(i, stamps[samples[i].id]) for i in plan.chosen if samples[i].id in stamps]
        for i, before in scored:
            if (i, before) not in known:
                known[i, before] = is_unchanged(samples[i].path, before)
        found.append({i for i, before in scored if known[i, before]})
    return found


def decode_batches(plan: Plan, batches: Sequence[Batch]) -> Iterator[list[Decoded]]:
    """The samples of each batch, every one decoded once, in order."""
    decoded = decode(
        plan.data,
        [index for batch in batches for index in batch.indices],
        plan.card,
        plan.protocol,
        workers=plan.workers,
        pin_memory=plan.device.type == "cuda",
    )
    for batch in batches:
        yield list(itertools.islice(decoded, len(batch.indices)))
