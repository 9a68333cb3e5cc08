"""In words, for results, `info` and `bench`: which attention a model runs, and where its fast path is closed."""

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from tome_zoo.schedule import R, resolve
from tome_zoo.transformer.attention import ATTENTION_READS, choose_kernel
from tome_zoo.transformer.fast_path import observed, observed_globally, why_not_fast_path
from tome_zoo.transformer.mlp import MLP_READS
from tome_zoo.transformer.vit import MergingVisionTransformer


def attention_path(model: VisionTransformer, device: torch.device, dtype: torch.dtype, r: R | None = None) -> str:
    """The attention of the first block at inference.

    Args:
        model: Merging, or timm's own.
        device: Where it is to compute.
        dtype: What it computes in.
        r: Merging schedule; None takes the model's own, 0 for timm's model. At 0 timm's own forward runs.

    Returns:
        "timm fused" or "timm unfused" where timm's module is called, else the name of the kernel of `choose_kernel`;
        with the reason where a merging model calls timm's module.
    """
    attn: Any = model.blocks[0].attn
    timms = "timm fused" if getattr(attn, "fused_attn", True) else "timm unfused"
    if not any(resolve(getattr(model, "r", 0) if r is None else r, len(model.blocks))):
        return timms
    own = torch.empty(0, device=next(model.parameters()).device)  # the model may not have been moved yet
    reason = why_not_fast_path(attn, ATTENTION_READS, own)
    if reason:
        return f"{timms} ({reason})"
    return choose_kernel(device, dtype, by_size=bool(getattr(model, "prop_attn", True)))


def called_as_modules(model: VisionTransformer, device: torch.device | None = None) -> dict[str, str]:
    """The parts of a merging model that are called as modules instead of being read, each with the reason.

    Args:
        model: The model.
        device: Where it computes; None means where its first parameter lies.
    """
    x = torch.empty(0, device=next(model.parameters()).device if device is None else device)
    found = {}
    for index, block in enumerate(model.blocks):
        part: Any = block
        for name, reason in (
            ("", observed(part) or observed_globally()),
            (".attn", why_not_fast_path(part.attn, ATTENTION_READS, x)),
            (".mlp", why_not_fast_path(part.mlp, MLP_READS, x)),
        ):
            if reason:
                found[f"blocks.{index}{name}"] = reason
    return found


def describe_fast_path(model: MergingVisionTransformer) -> str:
    """What a merging model reads and what it calls as modules where it merges, and how much the last block computes.

    Returns:
        Such as "attention read, MLP called (GluMlp instead of Mlp), last block computes prefix tokens only".
    """
    called, depth, told = called_as_modules(model), len(model.blocks), list[str]()
    for kind, suffix in (("blocks", ""), ("attention", ".attn"), ("MLP", ".mlp")):
        found = [called.get(f"blocks.{index}{suffix}", "") for index in range(depth)]
        if suffix and "" in found:
            told.append(f"{kind} read")
        for reason in filter(None, dict.fromkeys(found)):
            count = found.count(reason)
            told.append(f"{kind} called{'' if count == depth else f' in {count} of {depth} blocks'} ({reason})")
    reason = model.why_not_prefix_only(torch.empty(0, device=next(model.parameters()).device))
    return ", ".join([*told, f"last block computes {f'all tokens ({reason})' if reason else 'prefix tokens only'}"])
