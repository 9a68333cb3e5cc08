"""Position embeddings of another grid, resampled to the model's as timm does: bicubic, antialiased, in float32."""

import logging
import math

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from tome_zoo.errors import CheckpointError
from tome_zoo.modalities.inputs import Modality
from tome_zoo.transformer.architecture import Architecture

log = logging.getLogger(__name__)

Grid = tuple[int, int, int]
"""Tokens along (time, height, width); a spectrogram's are (1, frames, mel bins)."""


def fit_pos_embed(
    position: Tensor, architecture: Architecture, modality: Modality, prefix: int | None = None
) -> Tensor:
    """A position embedding on the grid of the model.

    The file does not say its grid. An image's is taken for a square, as timm takes it. A spectrogram's keeps the
    model's mel bins, so that time alone is resampled; of a clip either time or space is.

    Args:
        position: `[1, prefix + tokens, channels]`, time-major.
        architecture: The model; its prefix tokens keep their rows.
        modality: What the tokens are of.
        prefix: Rows of prefix tokens, 0 in models that embed patches alone (DeiT-III); None: one for each such token.

    Returns:
        The same tensor if the counts agree or nothing fits (a strict load says so), else a new one on the model's grid.

    Raises:
        CheckpointError: If a clip's embedding may be of several grids.
    """
    grid, prefix = architecture.grid, architecture.num_prefix_tokens if prefix is None else prefix
    if position.dim() != 3 or position.shape[0] != 1:
        return position
    tokens = position.shape[1] - prefix
    if tokens == math.prod(grid) or tokens <= 0:
        return position
    found = _grids(tokens, grid, modality)
    if len(found) > 1:
        described = " or ".join(_describe(item) for item in found)
        raise CheckpointError(
            f"pos_embed has {tokens} tokens, which may be {described}; the model has {_describe(grid)}: "
            "pass the file's img_size or num_frames"
        )
    return resample(position, found[0], grid, prefix) if found else position


def resample(position: Tensor, old: Grid, new: Grid, prefix: int = 0, name: str = "pos_embed") -> Tensor:
    """`[1, prefix + tokens, channels]` from one grid to another: space of every time, then time at every place."""
    if old == new:
        return position
    log.warning("%s resampled from a grid of %s tokens to %s", name, _describe(old), _describe(new))
    head, body = position[:, :prefix], position[:, prefix:]
    channels = position.shape[-1]
    if old[1:] != new[1:]:  # [1, space, time x channels]
        body = body.unflatten(1, (old[0], -1)).transpose(1, 2).flatten(2)
        body = resample_abs_pos_embed(body, list(new[1:]), list(old[1:]), num_prefix_tokens=0)
        body = body.unflatten(2, (old[0], channels)).transpose(1, 2).flatten(1, 2)
    if old[0] != new[0]:  # [1, time, space x channels], as a row: torch 2.14 resamples columns of width 1 wrongly
        body = body.unflatten(1, (old[0], -1)).flatten(2)
        body = resample_abs_pos_embed(body, [1, new[0]], [1, old[0]], num_prefix_tokens=0)
        body = body.unflatten(2, (-1, channels)).flatten(1, 2)
    return torch.cat([head, body], dim=1)


def square(tokens: int) -> int | None:
    """The side of a square of so many tokens, if there is one."""
    side = math.isqrt(tokens)
    return side if side * side == tokens else None


def _grids(tokens: int, grid: Grid, modality: Modality) -> list[Grid]:
    """Grids that so many tokens may be of."""
    frames, height, width = grid
    if modality == "audio":
        return [(1, tokens // width, width)] if tokens % width == 0 else []
    found: list[Grid] = []
    if tokens % (height * width) == 0 and modality == "video":
        found.append((tokens // (height * width), height, width))
    side = square(tokens // frames) if tokens % frames == 0 else None
    if side is not None:
        found.append((frames, side, side))
    return found


def _describe(grid: Grid) -> str:
    return " x ".join(str(side) for side in (grid if grid[0] > 1 else grid[1:]))
