"""Images, videos and sounds behind one interface: evaluation, prediction and training never ask which one they have.

Importing this package does not import torch; `get` imports the modality that is asked for.
"""

import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from tome_zoo.errors import CardError
from tome_zoo.modalities.inputs import Span, Spec, ViewProtocol
from tome_zoo.transformer.architecture import Architecture

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("image", "video", "audio")


class ModalityModule(Protocol):
    """What `image.py`, `video.py` and `audio.py` each offer."""

    def read(self, path: str | Path, spec: Spec | None = None, *, span: Span | None = None) -> Any:
        """Open a file: an RGB image, a lazy video reader, or a waveform [samples], without a model at its own rate.

        With a `span` only that stretch of a video or sound; an image has none.
        """

    def views(self, media: Any, spec: Spec, protocol: ViewProtocol) -> "Tensor":
        """What the model sees of it, [views, channels, ...], float32."""

    def load(self, path: str | Path, spec: Spec, protocol: ViewProtocol) -> "Tensor":
        """The views of a file; no more of it is kept in memory than they need."""

    def token_grid(self, spec: Spec) -> tuple[int, int, int]:
        """Patch tokens along (time, height, width); audio: (1, frames, mel bins)."""

    def embed_layer(self, architecture: Architecture) -> Callable[..., Any]:
        """The tokenizer, for timm's `embed_layer=`."""


def get(modality: str) -> ModalityModule:
    """The module of a modality, imported on first use.

    Raises:
        CardError: If there is no such modality.
    """
    if modality not in NAMES:
        near = difflib.get_close_matches(str(modality), NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise CardError(f"unknown modality {modality!r}, expected one of {', '.join(NAMES)}{hint}")
    return cast(ModalityModule, import_module(f"{__name__}.{modality}"))
