"""Models that do not merge, built by timm or torchvision with random weights."""

from collections.abc import Mapping
from typing import Any

import timm
import torchvision
from torch import nn

from tome_zoo.cards import BaselineCard
from tome_zoo.errors import TomeZooError

SIZES = ("img_size", "num_frames")


def build_baseline(card: BaselineCard, overrides: Mapping[str, Any]) -> tuple[nn.Module, tuple[int, ...]]:
    """The model of a card, and the shape of one input, `[channels, ...]`.

    Args:
        card: Of a baseline.
        overrides: `img_size`, and of video models `num_frames`.

    Raises:
        TomeZooError: If another field is to be changed, or the library cannot build it so.
    """
    free = () if card.builder.startswith("mvit_") else SIZES[: len(card.input) - 2]  # torchvision's sizes are fixed
    if other := sorted(set(overrides) - set(free)):
        raise TomeZooError(
            f"{other[0]!r} of the baseline {card.name} cannot be changed; what can: {', '.join(free) or 'nothing'}"
        )
    channels, *frames, height, width = card.input
    side = overrides.get("img_size", (height, width))
    size = (side, side) if isinstance(side, int) else tuple(side)
    if card.library == "timm":
        return timm_model(card.builder, {"img_size": size} if size != (height, width) else {}), (channels, *size)
    frames = [overrides.get("num_frames", frames[0])]
    build = getattr(torchvision.models.video, card.builder)
    model: Any = build(num_classes=card.num_classes)
    model.num_classes = card.num_classes  # as timm's models have it
    return model, (channels, *frames, *size)


def timm_model(name: str, overrides: Mapping[str, Any]) -> nn.Module:
    """A model of timm's with random weights.

    Raises:
        TomeZooError: If it cannot be built with these arguments.
    """
    try:
        return timm.create_model(name, **overrides)
    except TypeError as error:
        if set(overrides) != {"img_size"}:  # a convolutional network takes any size without being told
            raise TomeZooError(f"timm's {name} cannot be built with {dict(overrides)}: {error}") from None
        return timm.create_model(name)
