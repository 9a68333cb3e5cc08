"""One model on several ranks: DDP, or FSDP2 where a rank cannot hold it; and its whole state at any rank."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from tome_zoo.errors import TomeZooError
from tome_zoo.registry import ZooModel

WHOLE = StateDictOptions(full_state_dict=True)
WHOLE_AT_RANK_0 = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard_model(model: ZooModel, device: torch.device) -> None:
    """Shard the parameters over all ranks, in place (FSDP2): each block on its own, then the rest.

    Raises:
        TomeZooError: If there is one process only.
    """
    if not dist.is_initialized():
        raise TomeZooError("--fsdp shards a model over several processes: start it with torchrun")
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def wrap_model(model: ZooModel, device: torch.device, *, fsdp: bool) -> nn.Module:
    """What the forward goes through: DDP with several processes, else the model itself."""
    if fsdp or not dist.is_initialized() or dist.get_world_size() == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


@contextmanager
def accumulating(network: nn.Module, *, last: bool) -> Iterator[None]:
    """A forward and backward whose gradients are shared among the ranks only if they are the last of a step."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(last)
        yield
    elif isinstance(network, DistributedDataParallel) and not last:
        with network.no_sync():
            yield
    else:
        yield


def mean_over_ranks(value: Tensor) -> float:
    """The mean of a number over all ranks; NaN if one has NaN."""
    total = value.detach().double().cpu().reshape(1)
    if dist.is_initialized():
        dist.all_reduce(total)
        total /= dist.get_world_size()
    return total.item()


def model_state(model: ZooModel) -> dict[str, Tensor]:
    """A copy of every parameter, whole, at every rank; all ranks have to ask."""
    if isinstance(model, FSDPModule):
        return dict(cast(Any, get_model_state_dict(model, options=WHOLE)))
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def optimizer_state(model: ZooModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state, whole; at rank 0 if the model is sharded, else at every rank."""
    if isinstance(model, FSDPModule):
        return get_optimizer_state_dict(model, optimizer, options=WHOLE_AT_RANK_0)
    return optimizer.state_dict()


def load_model_state(model: ZooModel, state: dict[str, Tensor]) -> None:
    """Take over parameters as `model_state` gave them."""
    if isinstance(model, FSDPModule):
        set_model_state_dict(model, cast(Any, state), options=WHOLE)
    else:
        model.load_state_dict(state)


def load_optimizer_state(model: ZooModel, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over a state as `optimizer_state` gave it."""
    if isinstance(model, FSDPModule):
        set_optimizer_state_dict(model, optimizer, state, options=WHOLE)
    else:
        optimizer.load_state_dict(state)
