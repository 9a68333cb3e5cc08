"""Other names for the tensors of a state dict, and separate query, key and value rows joined."""

import re

import torch
from torch import Tensor

from tome_zoo.errors import CheckpointError

State = dict[str, Tensor]


def rename(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    """Apply the first rule (a pattern for a whole key, its replacement) that matches each key."""

    def new(key: str) -> str:
        for pattern, replacement in rules:
            renamed, matched = re.subn(f"^{pattern}$", replacement, key)
            if matched:
                return renamed
        return key

    return {new(key): value for key, value in state.items()}


def fuse_qkv(state: State) -> State:
    """Join separate query, key and value rows, `blocks.N.attn.{q,k,v}.*`, to `qkv.*`; a bias that is absent is zero."""
    fused = {key: value for key, value in state.items() if not re.match(r"blocks\.\d+\.attn\.[qkv]\.", key)}
    for prefix in sorted({key.rsplit(".", 2)[0] for key in state.keys() - fused.keys()}):
        for kind in ("weight", "bias"):
            parts = [state.get(f"{prefix}.{name}.{kind}") for name in "qkv"]
            there = [part for part in parts if part is not None]
            shapes = sorted({tuple(part.shape) for part in there})
            if len(shapes) > 1 or (kind == "weight" and len(there) < 3):
                raise CheckpointError(f"{prefix}: expected a q, k and v {kind} of one shape, got shapes {shapes}")
            if there:
                fused[f"{prefix}.qkv.{kind}"] = torch.cat(
                    [torch.zeros_like(there[0]) if part is None else part for part in parts]
                )
    return fused


def transformers_names(model: str, tail: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Names of the plain transformers in `transformers`, as files have them and as its release 5 has them in memory."""
    block = rf"{model}\.(?:encoder\.layer|layers)\.(\d+)"
    attention = rf"{block}\.attention(?:\.attention)?"
    projections = [
        (rf"{attention}\.{name}(?:uery|ey|alue|_proj)\.(weight|bias)", rf"blocks.\1.attn.{name}.\2") for name in "qkv"
    ]
    return (
        *projections,
        (rf"{attention}\.([qv])_bias", r"blocks.\1.attn.\2.bias"),
        (rf"{block}\.attention\.(?:output\.dense|o_proj)\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
        (rf"{block}\.layernorm_before\.(weight|bias)", r"blocks.\1.norm1.\2"),
        (rf"{block}\.layernorm_after\.(weight|bias)", r"blocks.\1.norm2.\2"),
        (rf"{block}\.(?:intermediate\.dense|mlp\.fc1)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
        (rf"{block}\.(?:output\.dense|mlp\.fc2)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
        (rf"{model}\.embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
        (rf"{model}\.layernorm\.(weight|bias)", r"norm.\1"),
        *tail,
    )
