"""Training's views of a file, with the randomness of one draw, and changes of whole batches."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from torch import Tensor

from tome_zoo.cards.schema import ModelCard, RecipeCard

Views = Callable[[Any, ModelCard, RecipeCard], Tensor]


def training_views(modality: str) -> Views:
    """What makes views `[repeats_per_decode, channels, ...]` of a medium; it draws from the global generators."""
    return cast(Views, import_module(f"{__name__}.{modality}").views)
