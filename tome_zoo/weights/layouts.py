"""Published layouts of weights -> timm's: which keys a file has, what they are called here, and what must be computed.

Every converter takes the published tensors and the architecture to fill, and returns tensors under the names of
`vit.MergingVisionTransformer`. Keys that a converter does not know stay as they are, so that a strict load names them.
"""

import re
from collections.abc import Callable, Mapping
from typing import get_args

import torch
from torch import Tensor

from tome_zoo.cards.schema import Layout
from tome_zoo.errors import CheckpointError
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.weights.layouts_ast import ast, ast_hf
from tome_zoo.weights.position import resample, square
from tome_zoo.weights.rename import State, fuse_qkv, rename, transformers_names

DECODER = re.compile(r"^(decoder_|decoder\.|mask_token$|pred_head\.|encoder_to_decoder\.)")


def convert(state: Mapping[str, Tensor], layout: Layout, architecture: Architecture) -> State:
    """Tensors of a published file under timm's names.

    Args:
        state: Tensors by their published names.
        layout: How they are named; `recognise` finds out.
        architecture: What they are for. Position embeddings that the layout stores apart for time and space are joined
            on its grid, resampled where the file has another.

    Raises:
        CheckpointError: If there is no such layout, or tensors have not the axes that it gives them.
    """
    if layout not in CONVERTERS:
        raise CheckpointError(f"no layout is named {layout!r}; known: {', '.join(get_args(Layout))}")
    try:
        return CONVERTERS[layout](dict(state), architecture)
    except (IndexError, RuntimeError) as error:  # of torch, about shapes
        raise CheckpointError(f"the tensors have not the shapes of layout {layout}: {error}") from None


def recognise(state: Mapping[str, Tensor]) -> Layout:
    """The layout of a file, from its keys.

    MAE, AudioMAE and timm name a transformer's parts alike; they are told apart by head and input channels, and their
    conversions agree wherever that is a guess.

    Raises:
        CheckpointError: If the keys are of no layout known here.
    """

    def any_key(pattern: str) -> bool:
        return any(re.match(pattern, key) for key in state)

    patches = state.get("patch_embed.proj.weight", state.get("encoder.patch_embed.proj.weight"))
    if any_key(r"audio_spectrogram_transformer\."):
        return "ast_hf"
    if any_key(r"mlp_head\.1\.weight$") and any_key(r"v\.patch_embed\."):
        return "ast"
    if any_key(r"videomae\."):
        return "videomae_hf"
    if any_key(r"encoder\.layers\.encoder_layer_\d+\."):
        return "torchvision"
    if any_key(r"encoder\.layers\.layer_\d+\."):
        return "swag"
    if any_key(r"pos_embed_(spatial|temporal)$") or any_key(r"blocks\.\d+\.attn\.q\.weight$"):
        return "mae_st"
    if patches is None:
        raise CheckpointError(
            f"the keys are of no layout known here ({', '.join(get_args(Layout))}); "
            f"the first are {', '.join(list(state)[:3])}"
        )
    if patches.dim() not in (4, 5):
        raise CheckpointError(
            f"patch_embed.proj.weight has shape {tuple(patches.shape)}, expected (channels, inputs, height, width) or "
            "(channels, inputs, time, height, width): tensors flattened to one axis cannot be told apart"
        )
    if any_key(r"(encoder\.)?blocks\.\d+\.attn\.q_bias$") or (patches.dim() == 5 and "pos_embed" not in state):
        return "videomae"
    if patches.dim() == 5:
        return "mae_st" if any_key(r"head\.projection\.|decoder_") else "timm"
    if "fc_norm.weight" in state or "head.weight" not in state:
        return "audiomae" if patches.shape[1] == 1 else "mae"
    return "timm"


def _timm(state: State, architecture: Architecture) -> State:
    return state


def _mae(state: State, architecture: Architecture) -> State:
    """MAE and AudioMAE: timm's names. The `norm` of a pre-trained encoder normalises what pooling gives."""
    state = {key: value for key, value in state.items() if not DECODER.match(key)}
    encoder = "head.weight" not in state and "fc_norm.weight" not in state
    return _norm_after_pooling(state) if encoder and architecture.pool == "avg" else state


def _mae_st(state: State, architecture: Architecture) -> State:
    """Spatiotemporal MAE, PySlowFast: separable position embeddings, q, k, v apart or fused, `norm` after pooling."""
    state = {key: value for key, value in state.items() if not DECODER.match(key)}
    state = fuse_qkv(rename(state, ((r"head\.projection\.(weight|bias)", r"head.\1"),)))
    if "pos_embed_spatial" in state and "pos_embed_temporal" in state:
        spatial, temporal = _fit_separable(
            state.pop("pos_embed_spatial"), state.pop("pos_embed_temporal"), architecture
        )
        frames, height, width = architecture.grid
        # [1, time * space, channels], time-major
        parts = [spatial.repeat(1, frames, 1) + temporal.repeat_interleave(height * width, dim=1)]
        if "pos_embed_class" in state:
            parts.insert(0, state.pop("pos_embed_class"))
        state["pos_embed"] = torch.cat(parts, dim=1)
    return _norm_after_pooling(state) if architecture.pool == "avg" else state


def _fit_separable(spatial: Tensor, temporal: Tensor, architecture: Architecture) -> tuple[Tensor, Tensor]:
    """Embeddings of space and of time, each resampled to the model's grid if the file has another."""
    frames, height, width = architecture.grid
    for name, tensor in (("spatial", spatial), ("temporal", temporal)):
        if tensor.dim() != 3 or tensor.shape[0] != 1 or tensor.shape[2] != architecture.embed_dim:
            raise CheckpointError(
                f"pos_embed_{name} has shape {tuple(tensor.shape)}, "
                f"expected (1, tokens, {architecture.embed_dim} channels)"
            )
    side = square(spatial.shape[1])
    if spatial.shape[1] != height * width:
        if side is None:
            raise CheckpointError(f"pos_embed_spatial has {spatial.shape[1]} tokens, which are no square grid")
        spatial = resample(spatial, (1, side, side), (1, height, width), name="pos_embed_spatial")
    return spatial, resample(temporal, (temporal.shape[1], 1, 1), (frames, 1, 1), name="pos_embed_temporal")


def _norm_after_pooling(state: State) -> State:
    return rename(state, ((r"norm\.(weight|bias)", r"fc_norm.\1"),))


def _swag(state: State, architecture: Architecture) -> State:
    """SWAG from torch.hub and from torchvision: the same model under two sets of names."""
    block = r"encoder\.layers\.(?:encoder_)?layer_(\d+)"
    state = rename(
        state,
        (
            (r"class_token", r"cls_token"),
            (r"conv_proj\.(weight|bias)", r"patch_embed.proj.\1"),
            (r"encoder\.pos_embedding", r"pos_embed"),
            (rf"{block}\.ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
            (rf"{block}\.self_attention\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
            (rf"{block}\.self_attention\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
            (rf"{block}\.mlp\.(?:linear_1|0)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
            (rf"{block}\.mlp\.(?:linear_2|3)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
            (r"encoder\.ln\.(weight|bias)", r"norm.\1"),
            (r"(?:head\.layers|heads)\.head\.(weight|bias)", r"head.\1"),
        ),
    )
    position = state.get("pos_embed")
    if position is not None and position.dim() == 3 and position.shape[1] == 1:  # torch.hub: [tokens, 1, channels]
        state["pos_embed"] = position.permute(1, 0, 2)
    return state


def sinusoid(tokens: int, dim: int) -> Tensor:
    """VideoMAE's fixed position embedding, `[1, tokens, dim]`: sine on even channels, cosine on odd."""
    channel = torch.arange(dim, dtype=torch.float64)
    rate = 10000 ** (2 * (channel // 2) / dim)
    angle = torch.arange(tokens, dtype=torch.float64).unsqueeze(1) / rate
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float().unsqueeze(0)


def _videomae(state: State, architecture: Architecture) -> State:
    """VideoMAE as its authors publish it: q and v biases apart (k has none), position embedding not stored."""
    state = {key: value for key, value in state.items() if not DECODER.match(key)}
    state = rename(state, ((r"encoder\.(patch_embed|blocks|norm)\.(.*)", r"\1.\2"),))
    for key in [key for key in state if re.match(r"blocks\.\d+\.attn\.q_bias$", key)]:
        prefix = key.removesuffix("q_bias")
        query = state.pop(key)
        value = state.pop(prefix + "v_bias", torch.zeros_like(query))
        state[prefix + "qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    if "head.weight" not in state and architecture.pool == "avg":
        state = _norm_after_pooling(state)
    if "pos_embed" not in state:
        frames, height, width = architecture.grid
        state["pos_embed"] = sinusoid(frames * height * width, architecture.embed_dim)
    return state


def _videomae_hf(state: State, architecture: Architecture) -> State:
    return _videomae(
        fuse_qkv(rename(state, transformers_names("videomae", ((r"classifier\.(weight|bias)", r"head.\1"),)))),
        architecture,
    )


CONVERTERS: dict[str, Callable[[State, Architecture], State]] = {
    "timm": _timm,
    "mae": _mae,
    "audiomae": _mae,
    "mae_st": _mae_st,
    "swag": _swag,
    "torchvision": _swag,
    "videomae": _videomae,
    "videomae_hf": _videomae_hf,
    "ast_hf": ast_hf,
    "ast": ast,
}
