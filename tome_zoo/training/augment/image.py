"""Images for training: timm's random resized crop, flip, RandAugment, normalisation and random erasing."""

from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from tome_zoo.cards.schema import ModelCard, RecipeCard
from tome_zoo.modalities import image
from tome_zoo.modalities.inputs import ImageInput
from tome_zoo.training.augment.single_view import SINGLE_VIEW


def views(media: Image.Image, card: ModelCard, recipe: RecipeCard) -> Tensor:
    """`[repeats_per_decode, 3, height, width]`, float32; without `crop_scale` the evaluation's view."""
    if recipe.crop_scale is None:
        return image.views(media, card, SINGLE_VIEW).repeat(recipe.repeats_per_decode, 1, 1, 1)
    if not isinstance(card.input, ImageInput):
        raise TypeError(f"{card.name} reads no images")
    transform = frame_transform(
        card.architecture.size, card.input.mean, card.input.std, card.input.interpolation, *_settings(recipe)
    )
    return torch.stack([transform(media) for _ in range(recipe.repeats_per_decode)])


@lru_cache(maxsize=4)
def frame_transform(
    size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: str,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    hflip: float,
    color_jitter: float,
    rand_augment: str | None,
    random_erasing: float,
) -> Any:
    """timm's training transform of one picture: PIL to normalised `[3, height, width]`."""
    return create_transform(
        input_size=size,
        is_training=True,
        scale=scale,
        ratio=ratio,
        hflip=hflip,
        color_jitter=color_jitter or None,
        auto_augment=rand_augment,
        interpolation=interpolation,
        mean=mean,
        std=std,
        re_prob=random_erasing,
        re_mode="pixel",
        re_count=1,
    )


def _settings(recipe: RecipeCard) -> tuple[Any, ...]:
    return (
        recipe.crop_scale, recipe.crop_ratio, recipe.hflip, recipe.color_jitter, recipe.rand_augment,
        recipe.random_erasing,
    )  # fmt: skip
