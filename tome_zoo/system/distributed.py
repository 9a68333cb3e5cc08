"""Several processes on one evaluation: who this one is, and how they tell each other what they found.

Under `torchrun` each process is one rank. Objects travel over gloo; a group with GPUs has nccl beside it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

from tome_zoo.errors import TomeZooError

T = TypeVar("T")

COLLECTIVES = timedelta(days=7)  # a rank may wait for slower ones; one that dies is noticed by torchrun, which ends all
VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))


class Rank(NamedTuple):
    """Which of how many processes this is; the local ones are those on the same machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def current_rank() -> Rank:
    """This process among those that `torchrun` (or the like) started."""
    return Rank(*(int(os.environ.get(name, default)) for name, default in VARIABLES))


@contextmanager
def process_group() -> Iterator[Rank]:
    """Join the other processes for a while; a group that exists already is used and left as it is."""
    rank = current_rank()
    if dist.is_initialized():
        yield rank._replace(rank=dist.get_rank(), world_size=dist.get_world_size())
        return
    if rank.world_size == 1:
        yield rank
        return
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", timeout=COLLECTIVES)
    try:
        yield rank
    finally:
        dist.destroy_process_group()


def all_gather(mine: T) -> list[T]:
    """What each rank has, in the order of ranks."""
    if not dist.is_initialized():
        return [mine]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return found


def gather_to_rank0(mine: T) -> list[T]:
    """At rank 0 what each rank has, in the order of ranks; elsewhere nothing."""
    if not dist.is_initialized():
        return [mine]
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(mine, found)
    return found or []


def broadcast(mine: T) -> T:
    """What rank 0 has."""
    if not dist.is_initialized():
        return mine
    box = [mine]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def raise_together() -> Iterator[None]:
    """A foreseeable error in one rank becomes the error of all, so that none waits for another.

    Inside, ranks may tell each other things only before anything there can fail.

    Raises:
        TomeZooError: In every rank, what the first of the failing ones raised; likewise OSError.
    """
    error: TomeZooError | OSError | None = None
    try:
        yield
    except (TomeZooError, OSError) as raised:
        error = raised
    first = next((other for other in all_gather(error) if other is not None), None)
    if first is not None:
        raise first
