"""The Audio Spectrogram Transformer, as its authors publish it and as the Hugging Face hub has it -> timm's names."""

import re

import torch

from tome_zoo.transformer.architecture import Architecture
from tome_zoo.weights.rename import State, fuse_qkv, rename, transformers_names


def ast_hf(state: State, architecture: Architecture) -> State:
    """AST as `transformers` has it."""
    model = "audio_spectrogram_transformer"
    tail = (
        (rf"{model}\.embeddings\.cls_token", r"cls_token"),
        (rf"{model}\.embeddings\.distillation_token", r"reg_token"),
        (rf"{model}\.embeddings\.position_embeddings", r"pos_embed"),
        (r"classifier\.layernorm\.(weight|bias)", r"fc_norm.\1"),
        (r"classifier\.dense\.(weight|bias)", r"head.\1"),
    )
    return _mel_major_to_time_major(fuse_qkv(rename(state, transformers_names(model, tail))), architecture)


def ast(state: State, architecture: Architecture) -> State:
    """AST as its authors publish it: a distilled DeiT of timm under `v.`, whose own two heads are not used."""
    state = {key: value for key, value in state.items() if not re.match(r"v\.head(_dist)?\.", key)}
    rules = (
        (r"v\.dist_token", r"reg_token"),
        (r"v\.(.*)", r"\1"),
        (r"mlp_head\.0\.(weight|bias)", r"fc_norm.\1"),
        (r"mlp_head\.1\.(weight|bias)", r"head.\1"),
    )
    return _mel_major_to_time_major(rename(state, rules), architecture)


def _mel_major_to_time_major(state: State, architecture: Architecture) -> State:
    """AST's patches run over [mel, frames], those here over [frames, mel]: kernel and position embedding turn."""
    kernel, position = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    if kernel is not None and kernel.dim() == 4:
        state["patch_embed.proj.weight"] = kernel.transpose(2, 3)
    mels, prefix = architecture.grid[2], architecture.num_prefix_tokens
    if position is not None and position.dim() == 3 and (position.shape[1] - prefix) % mels == 0:
        grid = position[:, prefix:].unflatten(1, (mels, -1)).transpose(1, 2).flatten(1, 2)
        state["pos_embed"] = torch.cat([position[:, :prefix], grid], dim=1)
    return state
