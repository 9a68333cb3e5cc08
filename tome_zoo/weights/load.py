"""From a file of weights to a model: read it safely, recognise its layout, convert it, and load it strictly."""

import hashlib
import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tome_zoo.cards.schema import Layout
from tome_zoo.errors import CheckpointError
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.weights.layouts import convert, recognise
from tome_zoo.weights.safe_read import load_file

__all__ = ["convert", "load_file", "load_into", "load_state", "read_converted", "recognise", "weights_digest"]

SHOWN = 5  # keys of a kind that a message lists


def read_converted(
    path: str | os.PathLike[str], architecture: Architecture, layout: Layout | None = None
) -> tuple[dict[str, Tensor], Layout]:
    """The tensors of a file under timm's names, and the layout they came in.

    Args:
        path: A file of weights.
        architecture: What they are for.
        layout: How the file names them; None recognises it by its keys.

    Raises:
        CheckpointError: If the file cannot be read safely, or is of no known layout.
    """
    state = load_file(path)
    try:
        layout = recognise(state) if layout is None else layout
        return convert(state, layout, architecture), layout
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def load_into(
    model: nn.Module,
    path: str | os.PathLike[str],
    layout: Layout | None = None,
    *,
    architecture: Architecture | None = None,
) -> Layout:
    """Load a file of weights into a model, strictly.

    Args:
        model: A model of the zoo, or any timm vision transformer together with its `architecture`.
        path: The file: a published one, timm's or safetensors.
        layout: How the file names its tensors; None recognises it by its keys.
        architecture: Shape of the model; None takes it from the model's card.

    Returns:
        The layout of the file.

    Raises:
        CheckpointError: If the file cannot be read safely, is of no known layout or of another model; the message lists
            the first missing, unexpected and mis-shaped keys.
    """
    if architecture is None:
        card = getattr(model, "card", None)
        if card is None:
            raise CheckpointError("the model has no card: say with architecture= what shape it is")
        architecture = card.architecture
    state, found = read_converted(path, architecture, layout)
    load_state(model, state, source=f"{path} (layout {found})")
    return found


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
    if others <= head and shaped:
        return (
            f". The file has {found['head.weight'].shape[0]} classes: pass num_classes={found['head.weight'].shape[0]}"
        )
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
