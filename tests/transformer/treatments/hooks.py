"""Hooks of every kind, that look and that change."""

import contextlib
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from treatments.bench import Bench, Run, backward, parts, scale, treatment

for path in ("attn", "attn.qkv", "attn.proj", "mlp", "mlp.fc1", "mlp.act", "mlp.fc2", "norm1", "ls1", "drop_path2", ""):

    def watch(bench: Bench, path: str = path) -> None:
        for part in parts(bench, path):
            part.register_forward_hook(bench.see)
            part.register_forward_pre_hook(bench.see)

    watch.__name__ = f"watch {path or 'block'}"
    treatment()(watch)

for path in ("attn", "attn.qkv", "mlp", "mlp.fc1", "mlp.fc2", ""):

    def watch_gradients(bench: Bench, path: str = path) -> Run:
        for part in parts(bench, path):
            part.register_full_backward_hook(bench.see)
            part.register_full_backward_pre_hook(bench.see)
        return backward(bench.model)

    watch_gradients.__name__ = f"watch gradients of {path or 'block'}"
    treatment()(watch_gradients)


@treatment()
def watch_last_block(bench: Bench) -> None:
    for module in bench.model.blocks[-1].modules():
        if type(module) is not nn.Dropout:
            module.register_forward_hook(lambda m, a, y: bench.seen.append(y.shape[1] > 4))


@treatment()
def watch_sequence_of_blocks(bench: Bench) -> None:
    bench.model.blocks.register_forward_hook(lambda m, a, y: bench.seen.append((len(a), y.ndim)))


@treatment()
def watch_norm(bench: Bench) -> None:
    """The norm behind the blocks sees all tokens, not the class token alone."""
    bench.model.norm.register_forward_hook(lambda m, a, y: bench.seen.append(y.shape[1] > 4))


@treatment()
def watch_all_modules(bench: Bench) -> None:
    bench.stack.enter_context(contextlib.closing(_Handle(nn.modules.module.register_module_forward_hook(bench.see))))


@treatment()
def watch_all_modules_before(bench: Bench) -> None:
    handle = nn.modules.module.register_module_forward_pre_hook(bench.see)
    bench.stack.enter_context(contextlib.closing(_Handle(handle)))


@treatment()
def watch_all_gradients(bench: Bench) -> Run:
    handle = nn.modules.module.register_module_full_backward_hook(bench.see)
    bench.stack.enter_context(contextlib.closing(_Handle(handle)))
    return backward(bench.model)


class _Handle:
    def __init__(self, handle: Any) -> None:
        self.close = handle.remove


@treatment(scale("attn.proj", 0))
def attention_ablated(bench: Bench) -> None:
    for attn in parts(bench, "attn"):
        attn.register_forward_hook(lambda m, a, y: torch.zeros_like(y))


@treatment(scale("mlp.fc2", 0, blocks=slice(1, 2)))
def mlp_ablated(bench: Bench) -> None:
    bench.model.blocks[1].mlp.register_forward_hook(lambda m, a, y: torch.zeros_like(y))


@treatment(scale("norm1", 2))
def attention_input_doubled(bench: Bench) -> None:
    for attn in parts(bench, "attn"):
        attn.register_forward_pre_hook(lambda m, a: (2 * a[0],))


@treatment(scale("attn.qkv", 2))
def qkv_doubled(bench: Bench) -> None:
    for qkv in parts(bench, "attn.qkv"):
        qkv.register_forward_hook(lambda m, a, y: 2 * y)


@treatment(scale("mlp.fc1", 2))
def fc1_doubled(bench: Bench) -> None:
    for fc1 in parts(bench, "mlp.fc1"):
        fc1.register_forward_hook(lambda m, a, y: 2 * y)


def _steer(model: VisionTransformer) -> None:
    with torch.no_grad():
        model.blocks[0].mlp.fc2.bias += 0.5
        model.blocks[-1].mlp.fc2.bias += 0.5


@treatment(_steer)
def block_outputs_steered(bench: Bench) -> None:
    """A hook of timm's signature: tokens in, tokens out."""
    for block in (bench.model.blocks[0], bench.model.blocks[-1]):
        block.register_forward_hook(lambda m, a, y: y + 0.5)


@treatment(lambda model: model.pos_embed.data.add_(0.3))
def block_input_steered(bench: Bench) -> None:
    bench.model.blocks[0].register_forward_pre_hook(lambda m, a: (a[0] + 0.3,))


@treatment()
def block_hooks_with_keywords(bench: Bench) -> None:
    for block in bench.model.blocks:
        block.register_forward_pre_hook(lambda m, a, k: (a, k), with_kwargs=True)
        block.register_forward_hook(lambda m, a, k, y: bench.seen.append(y.ndim), with_kwargs=True)
