"""From a file of weights to a model: read it safely, recognise its layout, convert it, fit it, and load it strictly."""

import hashlib
import logging
import math
import os
from collections.abc import Mapping

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tome_zoo.cards.schema import Layout
from tome_zoo.errors import CheckpointError
from tome_zoo.modalities.inputs import Modality
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.weights.layouts import convert, recognise
from tome_zoo.weights.position import fit_pos_embed
from tome_zoo.weights.safe_read import load_file

log = logging.getLogger(__name__)

SHOWN = 5  # keys of a kind that a message lists


def read_converted(
    path: str | os.PathLike[str],
    architecture: Architecture,
    layout: Layout | None = None,
    *,
    use_ema: bool | None = None,
) -> tuple[dict[str, Tensor], Layout]:
    """The tensors of a file under timm's names, and the layout they came in.

    Args:
        path: A file of weights.
        architecture: What they are for.
        layout: How the file names them; None recognises it by its keys.
        use_ema: Of raw and averaged weights in one file, whether to take the averaged ones; None does as timm does.

    Raises:
        CheckpointError: If the file cannot be read safely, or is of no known layout.
    """
    state = load_file(path, use_ema)
    try:
        layout = recognise(state) if layout is None else layout
        return convert(state, layout, architecture), layout
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def with_positions(
    state: Mapping[str, Tensor],
    model: VisionTransformer,
    architecture: Architecture,
    modality: Modality,
    *,
    source: str | os.PathLike[str],
) -> dict[str, Tensor]:
    """The tensors with position embeddings on the grid of a model.

    Args:
        state: Converted tensors.
        model: What they are for; it may lie on the meta device.
        architecture: Its shape.
        modality: What it reads: which axes are resampled where the file has another grid.
        source: The file, for the message.

    Raises:
        CheckpointError: If a clip's embedding may be of several grids.
    """
    found, own = state.get("pos_embed"), model.pos_embed
    if found is None or own is None:
        return dict(state)
    prefix = own.shape[1] - math.prod(architecture.grid)
    try:
        return {**state, "pos_embed": fit_pos_embed(found, architecture, modality, prefix)}
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None


def classes_of(state: Mapping[str, Tensor]) -> int:
    """Outputs of the classifier that a file brings, under timm's names; 0 if it brings none."""
    head = state.get("head.weight")
    return 0 if head is None or head.dim() != 2 else head.shape[0]


def with_classifier(state: Mapping[str, Tensor], num_classes: int, embed_dim: int) -> dict[str, Tensor]:
    """The tensors with a classifier of that many outputs: the file's own if it fits, else a new one, or none for 0.

    A new one is drawn as timm draws it (a truncated normal of 0.02, no bias); the log says that it is to be trained.
    """
    if classes_of(state) == num_classes:
        return dict(state)
    state = {key: value for key, value in state.items() if key not in ("head.weight", "head.bias")}
    if num_classes:
        log.warning(
            "the classifier of %d classes is new, it has to be trained: the file brings none of that size", num_classes
        )
        state["head.weight"] = nn.init.trunc_normal_(torch.empty(num_classes, embed_dim), std=0.02)
        state["head.bias"] = torch.zeros(num_classes)
    return state


def load_state(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Put converted tensors in a model whose parameters may lie on the meta device; strictly.

    Tensors are copied, as float32 or whatever the parameter is, so that nothing of the file stays in use.

    Raises:
        CheckpointError: If a key is missing, unexpected, mis-shaped or holds values that are not finite.
    """
    expected = model.state_dict()
    if faults := compare(expected, state):
        raise CheckpointError(f"{source} does not fit the model: {faults}")
    loaded = {}
    for key, value in state.items():
        if not value.is_floating_point():
            raise CheckpointError(f"{source}: {key!r} holds {value.dtype}, expected floating-point weights")
        target = expected[key]
        device = "cpu" if target.is_meta else target.device
        loaded[key] = value.detach().to(device=device, dtype=target.dtype, copy=True).contiguous()
        if not torch.isfinite(loaded[key]).all():
            raise CheckpointError(
                f"{source}: {key!r} has values that are not finite; the file is damaged, fetch it again"
            )
    model.load_state_dict(loaded, strict=True, assign=any(value.is_meta for value in expected.values()))


def compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What is wrong with `found`: the first keys of each kind, and what might mend it; empty if nothing is."""
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    shaped = [key for key in expected if key in found and expected[key].shape != found[key].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_first(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_first(unexpected)})")
    if shaped:
        described = [
            f"{key} {tuple(found[key].shape)} where {tuple(expected[key].shape)} is expected" for key in shaped
        ]
        parts.append(f"{len(shaped)} mis-shaped ({_first(described)})")
    if not parts:
        return ""
    return f"of {len(expected)} keys {', '.join(parts)}{_remedy(missing, unexpected, shaped, found)}"


def _first(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")


def _remedy(missing: list[str], unexpected: list[str], shaped: list[str], found: Mapping[str, Tensor]) -> str:
    head = {"head.weight", "head.bias"}
    others = set(missing) | set(unexpected) | set(shaped)
    if others <= head and (classes := classes_of(found)):
        return f". The file has {classes} classes: pass num_classes={classes}, or another count for a new classifier"
    if missing and set(missing) <= {*head, "fc_norm.weight", "fc_norm.bias"} and "head.weight" in missing:
        return ". The file is an encoder without classifier: pass num_classes=0, or bring a fine-tuned file"
    if shaped == ["pos_embed"] and not missing and not unexpected:
        return ". The file is for another input size: pass its img_size (video: num_frames)"
    return ". It is a file of another model, or of another size of this one"


def weights_digest(model: nn.Module) -> str:
    """Leading 16 hex digits of the SHA-256 of a model's tensors with their names: which weights these are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
