"""Sharded training on two processes against one process: equal losses, merging or not."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.block import MergingBlock
from tome_zoo.transformer.build import build

SMALL = Architecture(embed_dim=32, depth=3, num_heads=2, patch_size=8, img_size=48, num_classes=5)
CASES = ((0, "token"), (4, "token"), (4, "avg"))
KINDS = ("fully_shard", "FSDP", "DDP")


def losses(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Of three steps of gradient descent."""
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.02), []
    for _ in range(3):
        loss = cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def problem(r: int, pool: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = build(SMALL.model_copy(update={"pool": pool}), r=r)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, torch.randn(4, 3, 48, 48), torch.tensor([0, 1, 2, 3])


def shard(model: nn.Module, kind: str) -> nn.Module:
    mesh = init_device_mesh("cpu", (2,))
    if kind == "DDP":
        return DistributedDataParallel(model)
    if kind == "FSDP":
        policy = ModuleWrapPolicy({MergingBlock})
        full = ShardingStrategy.FULL_SHARD
        return FullyShardedDataParallel(
            model, auto_wrap_policy=policy, sharding_strategy=full, device_id=torch.device("cpu")
        )
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        found = {}
        for kind in KINDS:
            for r, pool in CASES:
                model, x, labels = problem(r, pool)
                own = slice(2 * rank, 2 * rank + 2)
                mean = torch.tensor(losses(shard(model, kind), x[own], labels[own]))
                dist.all_reduce(mean)
                found[kind, r, pool] = mean / 2
        if rank == 0:
            torch.save(found, Path(folder) / "losses.pt")
    finally:
        dist.destroy_process_group()
    os._exit(0)  # threads of torch that have not ended may abort a process as Python ends


def test_losses_are_those_of_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])  # where the processes find this file
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "losses.pt")
    for (_, r, pool), mean in found.items():
        torch.testing.assert_close(mean, torch.tensor(losses(*problem(r, pool))), rtol=1e-4, atol=1e-5)
        assert mean[2] < mean[0]
