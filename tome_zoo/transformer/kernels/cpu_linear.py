"""Linear layers on the CPU by oneDNN, for inference.

For bfloat16 torch takes oneDNN itself, but not GELU in the same pass; for float32 it takes MKL, which on processors
that Intel did not make is up to 1.5 times as slow, most so with few tokens. The operator is the one that torch's
compiler emits.
"""

from typing import Any

import torch
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from tome_zoo.system import devices
from tome_zoo.transformer.kernels import cpu_attention

PRESENT = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def usable(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `product` takes oneDNN: inference on a CPU where that is the faster way, and nobody looks on.

    Whoever compiles, traces or exports gets torch's own operators, and so does autocast, which knows no others.
    """
    return (
        PRESENT
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and _suits(x, weight)
        and (bias is None or _suits(x, bias))
        and _quicker(x.dtype)
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """`x weight^T + bias`, and GELU of it.

    Args:
        x: `[..., channels]`.
        weight: `[outputs, channels]`.
        bias: `[outputs]`, or None.
        gelu: Whether to apply GELU, the exact one.

    Returns:
        `[..., outputs]`.
    """
    if usable(x, weight, bias):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
    y = F.linear(x, weight, bias)
    return F.gelu(y) if gelu else y


def linear(layer: Any, x: Tensor) -> Tensor:
    """`layer(x)`, by `product` where it is a linear layer and nothing else."""
    return product(x, layer.weight, layer.bias) if plain(layer, nn.Linear) else layer(x)


def feed_forward(mlp: Any, x: Tensor) -> Tensor:
    """`mlp(x)`, by `product` where it is timm's `Mlp`."""
    if not plain(mlp, Mlp):
        return mlp(x)
    if plain(mlp.fc1, nn.Linear) and plain(mlp.act, nn.GELU) and mlp.act.approximate == "none":
        x = product(x, mlp.fc1.weight, mlp.fc1.bias, gelu=True)
    else:
        x = mlp.act(linear(mlp.fc1, x))
    return mlp.drop2(linear(mlp.fc2, mlp.norm(mlp.drop1(x))))


def plain(module: Any, cls: type[nn.Module]) -> bool:
    """Whether it is just that, without hooks that want to be called."""
    return type(module) is cls and not module._forward_hooks and not module._forward_pre_hooks


def _quicker(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return cpu_attention.NATIVE
    return dtype == torch.float32 and not devices.made_by_intel()


def _suits(x: Tensor, part: Tensor) -> bool:
    """Whether a parameter is an ordinary tensor of the same dtype: no quantised, no sharded one."""
    return type(part) in (Tensor, nn.Parameter) and part.dtype == x.dtype


if PRESENT:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        return 2 * x.numel() * weight[0]
