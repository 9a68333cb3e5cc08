"""Which pixels belong together once tokens have merged: the trace of a model on the grid of its input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tome_zoo.errors import CardError, TomeZooError, UnsupportedModelError
from tome_zoo.evaluation.prediction import Prediction
from tome_zoo.schedule import R
from tome_zoo.transformer.patching import patch, share_parameters
from tome_zoo.visualize.subject import subject_of


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups that the patch tokens of one view form behind a block.

    Attributes:
        tokens: Group of each patch token on its grid, int64 `[time, height, width]`; audio: `[1, frames, mel bins]`.
            Groups count from 0 in the order in which their tokens stand behind the block, prefix tokens left out.
        pixels: Group of each pixel, int64 `[height, width]`, `[frames, height, width]` or audio `[frames, mel bins]`.
            Where patches overlap, that of the patch with the nearest centre; -1 where no patch looks.
        sizes: Patch tokens in each group, int64 `[groups]`.
        n_tokens: Tokens left, the prefix included.
        n_input: Tokens before merging, the prefix included.
        r: The schedule.
        reducer: What reduced them; empty for the default matching.
        n_dropped: Input tokens that no token holds behind the last block, where the reducer drops tokens. The groups
            show them with the survivor that stands in for them.
        block: How many blocks were passed, from 1.
        depth: How many blocks there are.
        kernel: Extent of a patch along each axis of the input.
        stride: Step between patches along each axis.
        prediction: The most probable classes at this schedule, best first; empty for an encoder.
    """

    tokens: np.ndarray
    pixels: np.ndarray
    sizes: np.ndarray
    n_tokens: int
    n_input: int
    r: R
    reducer: str
    n_dropped: int
    block: int
    depth: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    prediction: tuple[Prediction, ...]

    @property
    def first(self) -> np.ndarray:
        """The first patch token of each group, int64 `[groups]`: a name that other groups of the view share."""
        _, first = np.unique(self.tokens, return_index=True)
        return first


def groups(model: nn.Module, view: Tensor, r: R | None = None, block: int | None = None, top_k: int = 1) -> Groups:
    """The groups of one view, and what the model predicts from it.

    Args:
        model: A model of the zoo or of timm; it is not changed, and one that does not merge yet is merged in a copy.
        view: `[channels, ...]` or `[1, channels, ...]`, as the model takes it.
        r: Merging schedule; None takes the model's own.
        block: Behind which block, from 1; None means the last.
        top_k: How many classes to predict.

    Raises:
        TomeZooError: If there is no such block, or several views are given.
        UnsupportedModelError: If the model cannot be merged, or its tokens lie on no grid of pixels.
        ScheduleError: If `r` is no schedule for the model.
    """
    found = groups_by_block(model, view, r, top_k)
    if block is None:
        return found[-1]
    if not 1 <= block <= len(found):
        raise TomeZooError(f"block should lie between 1 and {len(found)}, got {block}")
    return found[block - 1]


def groups_by_block(model: nn.Module, view: Tensor, r: R | None = None, top_k: int = 1) -> list[Groups]:
    """The groups of one view behind every block; arguments and errors as of `groups`."""
    merging = _merging(model, r)
    parameter = next(merging.parameters())
    x = view.detach().to(parameter.device, parameter.dtype)
    dimensions = 5 if getattr(merging.patch_embed, "proj", None).__class__.__name__ == "Conv3d" else 4
    x = x.unsqueeze(0) if x.ndim == dimensions - 1 else x
    if x.ndim != dimensions or len(x) != 1:
        raise TomeZooError(f"expected one view of {dimensions - 1} dimensions, got the shape {list(view.shape)}")
    with torch.inference_mode():
        tokens, trace = merging.trace_tokens(x)
        prediction = _predict(merging, tokens, trace.size, top_k)
    n_prefix, depth = merging.num_prefix_tokens, len(trace.blocks)
    grid = token_grid(merging, tuple(x.shape[2:]))
    n_input = trace.blocks[0].shape[1]
    if n_input - n_prefix != int(np.prod(grid)):
        raise UnsupportedModelError(
            f"cannot draw {type(merging).__name__}: it has {n_input - n_prefix} patch tokens, its grid {grid}"
        )
    kernel, stride = patch_steps(merging)
    cells = pixel_cells(tuple(x.shape[2:]), kernel, stride, grid)
    reducer = getattr(merging, "reducer", None)
    found = []
    for number, after in enumerate(trace.blocks, start=1):
        index = after[0, n_prefix:].cpu().numpy() - n_prefix
        found.append(
            Groups(
                tokens=index.reshape((1, *grid)[-3:]),
                pixels=np.where(cells < 0, -1, index[cells]),
                sizes=np.bincount(index),
                n_tokens=int(index.max()) + 1 + n_prefix,
                n_input=n_input,
                r=merging.r,
                reducer="" if reducer is None or reducer.is_default else reducer.name,
                n_dropped=n_input - round(float(trace.size[0].sum())),
                block=number,
                depth=depth,
                kernel=kernel,
                stride=stride,
                prediction=prediction,
            )
        )
    return found


def token_grid(model: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """Patch tokens along each axis of an input of this size: (height, width) or (time, height, width)."""
    return tuple(model.patch_embed.dynamic_feat_size(size))


def patch_steps(model: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Extent of a patch along each axis of the input, and the step to the next one."""
    embed = model.patch_embed
    stride = tuple(embed.feat_ratio(as_scalar=False))
    return tuple(embed.patch_size) if hasattr(embed, "stride") else stride, stride


def pixel_cells(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], grid: tuple[int, ...]
) -> np.ndarray:
    """For each pixel, the patch token with the nearest centre of those that look at it, or -1; int64 of `size`."""
    cells = np.zeros(size, dtype=np.int64)
    unread = np.zeros(size, dtype=bool)
    for axis, sizes in enumerate(zip(size, kernel, stride, grid, strict=True)):
        along = axis_cells(*sizes).reshape([-1 if other == axis else 1 for other in range(len(size))])
        cells = cells * grid[axis] + along
        unread |= along < 0
    return np.where(unread, -1, cells)


def axis_cells(extent: int, kernel: int, stride: int, count: int) -> np.ndarray:
    """Along one axis: which of `count` patches, `kernel` wide and `stride` apart, each of `extent` pixels is drawn as.

    Returns:
        int64 `[extent]`; -1 behind the last patch.
    """
    position = np.arange(extent)
    nearest = np.floor((position + 0.5 - kernel / 2) / stride + 0.5).clip(0, count - 1).astype(np.int64)
    return np.where(position >= (count - 1) * stride + kernel, -1, nearest)


def _merging(model: nn.Module, r: R | None) -> Any:
    """A twin of the model in evaluation mode at that schedule."""
    same: Any = share_parameters(model).eval()
    wanted = getattr(model, "r", 0) if r is None else r
    if not hasattr(same, "trace"):
        return patch(same, r=wanted)
    same.r = wanted
    return same


def _predict(model: Any, tokens: Tensor, size: Tensor, top_k: int) -> tuple[Prediction, ...]:
    """The most probable classes by the tokens behind the last block and their sizes; none for an encoder."""
    if not getattr(model, "num_classes", 0):
        return ()
    logits = model.forward_head(tokens, size=size)[0].float().cpu()
    labels, multi_label = _classes(model)
    probabilities = logits.sigmoid() if multi_label else logits.softmax(dim=0)
    best = probabilities.argsort(descending=True, stable=True)[:top_k].tolist()
    return tuple(
        Prediction(labels[index] if labels else f"class {index}", index, float(probabilities[index])) for index in best
    )


def _classes(model: Any) -> tuple[tuple[str, ...], bool]:
    """Names of the outputs, none for a model that nobody has described, and whether each has its own probability."""
    try:
        subject = subject_of(model)
    except CardError:
        return (), False
    return subject.labels, subject.multi_label
