"""Images: Pillow, then the field's evaluation transform: resize the short side, crop the centre, normalise.

As torchvision's ImageFolder and timm do, transparency is dropped and an EXIF orientation is not applied, so that
published accuracies can be reproduced.
"""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tome_zoo.errors import CardError, MediaError
from tome_zoo.modalities._checks import input_of, modest, regular_file, single_view
from tome_zoo.modalities.inputs import ImageInput, Span, Spec, ViewProtocol
from tome_zoo.transformer.architecture import Architecture

_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_WARNINGS = threading.Lock()  # `warnings.catch_warnings` is not safe among threads


def read(path: str | Path, spec: Spec | None = None, *, span: Span | None = None, upright: bool = False) -> Image.Image:
    """Decode an image to 8-bit RGB, its first frame if it has several.

    Args:
        path: The file.
        spec: Not needed.
        span: None: an image has no stretches.
        upright: Turn it as the EXIF orientation of a camera says: for looking at one's own photographs, not for
            published figures.

    Raises:
        MediaError: If it is missing, no image, damaged, or so large that it must be a decompression bomb.
    """
    if span is not None:
        raise MediaError(f"{path}: an image has no stretch of {span.start:g} to {span.end:g} s")
    path = regular_file(path, "an image")
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which nobody reads here
            image = Image.open(path)
        with image:
            image.load()
            return to_rgb(turned_upright(image) if upright else image)
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from None
    except Image.UnidentifiedImageError:
        raise MediaError(f"{path}: no image that Pillow can read; expected PNG, JPEG, WebP, BMP or the like") from None
    except Image.DecompressionBombError as error:
        raise MediaError(f"{path}: {error}; scale it down first") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise MediaError(f"{path}: damaged image ({error}); copy or download it again") from None


def load(path: str | Path, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """The views of an image file.

    Raises:
        MediaError: As `read` and `views`.
        CardError: As `views`.
    """
    return views(read(path, spec), spec, protocol)


def views(media: Image.Image, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """The one view of an image, [1, 3, height, width], float32: resized to size / crop_pct, centre crop, normalised.

    Equals timm's evaluation transform, and torchvision's, bit by bit.

    Raises:
        MediaError: If the image is too long and narrow.
        CardError: If the protocol asks for several views, or the model is no model of RGB images.
    """
    single_view(protocol, "images")
    if protocol.temporal_views != 1:
        raise CardError(f"temporal_views must be 1 for images, got {protocol.temporal_views}: choose another protocol")
    settings = input_of(spec, ImageInput)
    if spec.architecture.in_chans != 3:
        raise CardError(f"images have 3 channels (RGB), but the model expects in_chans = {spec.architecture.in_chans}")
    size = spec.architecture.size
    width, height = resized(media.size, size, settings.crop_pct, settings.crop_mode)
    modest(height, width)
    media = media.resize((width, height), _INTERPOLATION[settings.interpolation])
    left, top = round((width - size[1]) / 2), round((height - size[0]) / 2)
    pixels = torch.from_numpy(np.array(media.crop((left, top, left + size[1], top + size[0]))))  # [H, W, 3], uint8
    mean, std = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (settings.mean, settings.std))
    view = torch.empty(1, 3, *size, dtype=torch.float32)
    view[0] = pixels.permute(2, 0, 1)
    return view.div_(255).sub_(mean).div_(std)


def resized(
    image: tuple[int, int], size: tuple[int, int], crop_pct: float, crop_mode: str = "center"
) -> tuple[int, int]:
    """(width, height) that an image of (width, height) has before a crop of `size` (height, width) pixels."""
    width, height = image
    target_height, target_width = int(size[0] / crop_pct), int(size[1] / crop_pct)
    if crop_mode == "squash":
        return target_width, target_height
    if target_height == target_width:  # torchvision's Resize: the long side is rounded down
        if width <= height:
            return target_width, int(target_width * height / width)
        return int(target_height * width / height), target_height
    ratio = min(height / target_height, width / target_width)  # timm's ResizeKeepRatio
    return round(width / ratio), round(height / ratio)


def token_grid(spec: Spec) -> tuple[int, int, int]:
    """Patches along (time, height, width); time is 1."""
    return spec.architecture.grid


def embed_layer(architecture: Architecture) -> Callable[..., torch.nn.Module]:
    """The patch embedding for timm's `embed_layer=`: timm's own, or one of overlapping patches."""
    from tome_zoo.transformer.embed import patch_embed

    return patch_embed(architecture)


def turned_upright(image: Image.Image) -> Image.Image:
    """The image as the EXIF orientation of a camera says; as it is where there is none, or none that can be read."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ImageOps.exif_transpose(image)
        except Exception:  # Pillow raises nearly anything on damaged metadata
            return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any mode; alpha is dropped, 16-bit values keep their high byte as Pillow's 16-bit colour does."""
    if image.mode == "F":
        raise MediaError("floating-point pixels have no agreed range; save the image with 8 or 16 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise MediaError("32-bit pixels have no agreed range; save the image with 8 or 16 bits a channel")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
