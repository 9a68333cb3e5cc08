"""Linear layers on the CPU by oneDNN, for inference.

For bfloat16 torch takes oneDNN itself, but not GELU in the same pass; for float32 it takes MKL, which on processors
that Intel did not make is up to 1.5 times as slow, most so with few tokens. The operator is the one that torch's
compiler emits.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from tome_zoo.system import devices
from tome_zoo.transformer.kernels import cpu_attention

IS_PRESENT = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # private


def usable(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `linear_gelu` takes oneDNN: inference on a CPU where that is faster.

    Whoever compiles, traces or exports gets torch's own operators, and so does autocast, which knows no others.
    """
    return (
        IS_PRESENT
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and weight.dtype == x.dtype
        and (bias is None or bias.dtype == x.dtype)
        and _is_faster(x.dtype)
    )


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """`x weight^T + bias`, and with `gelu` GELU of it, in one pass where oneDNN is `usable`.

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


def _is_faster(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return cpu_attention.BF16_IS_NATIVE
    return dtype == torch.float32 and not devices.made_by_intel()


if IS_PRESENT:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        return 2 * x.numel() * weight[0]
