"""Checks that the modalities share: of a file before it is decoded, and of what a card and a protocol ask for."""

import stat
from pathlib import Path
from typing import TypeVar

from tome_zoo.errors import CardError, MediaError
from tome_zoo.modalities.inputs import AudioInput, ImageInput, Spec, VideoInput, ViewProtocol

_PIXELS = 178_956_970

T = TypeVar("T", ImageInput, VideoInput, AudioInput)


def regular_file(path: str | Path, kind: str) -> Path:
    """The path, if it is a file with something in it; `kind` ("an image") is for the message.

    Raises:
        MediaError: If it is missing, a folder, empty or cannot be accessed.
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file; expected {kind}") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be accessed ({error}); expected {kind}") from None
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(f"{path}: expected {kind}, got a folder; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{path}: expected {kind}, got no regular file")
    if status.st_size == 0:
        raise MediaError(f"{path}: expected {kind}, got an empty file; copy or download it again")
    return path


def modest(height: int, width: int) -> None:
    """Refuse pictures so long and narrow that their short side cannot be scaled to a model's size.

    Raises:
        MediaError: If the scaled picture has more pixels than Pillow reads at all.
    """
    if height * width > _PIXELS:
        raise MediaError(
            f"picture too long and narrow: scaled for the model, it would have {height} x {width} pixels; crop it first"
        )


def input_of(spec: Spec, kind: type[T]) -> T:
    """The preprocessing of a model, if it is of the wanted modality.

    Raises:
        CardError: If the model is of another modality.
    """
    if not isinstance(spec.input, kind):
        raise CardError(f"expected a model with {kind.__name__}, got one with {type(spec.input).__name__}")
    return spec.input


def single_view(protocol: ViewProtocol, modality: str) -> None:
    """Refuse protocols of several spatial views where there is only one.

    Raises:
        CardError: If `protocol.spatial_views` is not 1.
    """
    if protocol.spatial_views != 1:
        raise CardError(
            f"spatial_views must be 1 for {modality}, got {protocol.spatial_views}: choose another protocol"
        )
