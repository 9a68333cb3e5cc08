"""The one rule that decides whether a part of a block may be computed by reading its weights instead of calling it.

The fast path reads `qkv.weight` and the like and computes attention and MLP in its own way. Whoever acts through the
call of a module would be passed by: hooks, offloading, sharding, adapters, quantisation, a replaced `forward`. So every
part is asked about at every call, because hooks may come at any time. Where the answer is a reason and not "", the part
is called as the module that it is, with the same result.
"""

from typing import Any, NamedTuple

import torch
from timm import layers
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

_HOOK_KINDS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
_GLOBAL_HOOKS: tuple[dict[int, Any], ...] = tuple(getattr(nn_module, f"_global_{kind}", {}) for kind in _HOOK_KINDS)
_interpreters = getattr(getattr(torch._C, "_functorch", None), "peek_interpreter_stack", None)
_forward_ad = getattr(torch.autograd, "forward_ad", None)


TOKENWISE = frozenset(
    (
        nn.Linear, nn.LayerNorm, nn.Identity, nn.Dropout, nn.GELU, nn.SiLU, nn.ReLU, nn.Tanh, nn.Sigmoid,
        layers.LayerNorm, layers.RmsNorm, layers.Mlp, layers.GluMlp, layers.SwiGLU, layers.LayerScale, layers.DropPath,
        layers.QuickGELU, layers.GELU, layers.GELUTanh,
    )
)  # fmt: skip
"""Modules that treat every token by itself."""


class Reads(NamedTuple):
    """What the fast path of a part reads instead of calling it.

    Attributes:
        owner: The exact type of the part.
        linears: Names of the linear layers in it whose weights are read.
    """

    owner: type[nn.Module]
    linears: tuple[str, ...]


def why_not_fast_path(part: nn.Module, reads: Reads, x: Tensor) -> str:
    """Why a part has to be called as a module; "" where nothing can tell the difference and it may be read.

    Args:
        part: An attention or MLP.
        reads: What its fast path reads.
        x: What it is called with, `[batch, tokens, channels]`.
    """
    reason = _not_observed(part, reads.owner) or observed_globally() or differentiation_mode(x)
    if reason:
        return reason
    if not part.__dict__.get("fused_attn", True):
        return "fused_attn is off"
    device = None if torch.compiler.is_compiling() else x.device  # the compiler has its own kinds of tensors
    for name in reads.linears:
        linear: Any = part._modules.get(name)  # None where it is no module: no linear layer to read
        reason = _not_observed(linear, nn.Linear) or ("" if device is None else _not_plain(linear, device))
        if reason:
            return f"{name}: {reason}"
    return ""


def why_not_prefix_only(block: Any, norm: nn.Module, reads: Reads, x: Tensor) -> str:
    """Why the last block has to compute all tokens though the head reads prefix tokens alone; "" where it need not.

    Args:
        block: The last block.
        norm: The norm behind it.
        reads: What the fast path of the block's attention reads.
        x: Its input, `[batch, tokens, channels]`.
    """
    reason = why_not_fast_path(block.attn, reads, x)
    if reason:
        return f"attn: {reason}"
    for module in (*block.modules(), norm):
        if module is not block and module is not block.attn and type(module) not in TOKENWISE:
            return f"{type(module).__name__} may look at other tokens"
        reason = observed(module)
        if reason:
            return f"{type(module).__name__}: {reason}"
    return ""


def observed(module: nn.Module) -> str:
    """Who acts through the call of this very module; "" for nobody."""
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return "hooks"
    if "forward" in module.__dict__:
        return "a forward set on the instance"
    return ""


def observed_globally() -> str:
    """Whether hooks on all modules are registered."""
    for hooks in _GLOBAL_HOOKS:
        if hooks:
            return "hooks on all modules"
    return ""


def _not_observed(module: nn.Module, cls: type[nn.Module]) -> str:
    return observed(module) if type(module) is cls else f"{type(module).__name__} instead of {cls.__name__}"


def differentiation_mode(x: Tensor) -> str:
    """Modes that the operators of the fast path do not support, and tokens that are no plain tensors."""
    if torch.compiler.is_compiling():  # the compiler has its own kinds of tensors, and follows these modes itself
        return ""
    if type(x) is not Tensor:
        return f"tokens are a {type(x).__name__}"
    if _interpreters is not None and _interpreters() is not None:
        return "torch.func transforms"
    if getattr(_forward_ad, "_current_level", -1) >= 0:
        return "forward-mode differentiation"
    return ""


def _not_plain(linear: nn.Linear, device: torch.device) -> str:
    """Parameters that are not in memory as they are: sharded, quantised, offloaded."""
    for parameter in (linear.weight, linear.bias):
        if parameter is None:
            continue
        if type(parameter) is not nn.Parameter and type(parameter) is not Tensor:
            return f"weights are a {type(parameter).__name__}"
        if parameter.device != device:
            return f"weights on {parameter.device}, tokens on {device}"
    return ""
