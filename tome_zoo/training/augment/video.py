"""Clips for training: a random stretch of the video; crop, flip and RandAugment are the same for all its frames."""

import random

import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from tome_zoo.cards.schema import ModelCard, RecipeCard
from tome_zoo.modalities import video
from tome_zoo.modalities._video_frames import Video
from tome_zoo.modalities.inputs import VideoInput
from tome_zoo.training.augment.image import frame_transform
from tome_zoo.training.augment.single_view import SINGLE_VIEW
from tome_zoo.training.seeds import seed_all


def views(media: Video, card: ModelCard, recipe: RecipeCard) -> Tensor:
    """`[repeats_per_decode, 3, frames, height, width]`, float32; without `crop_scale` the evaluation's view.

    Each repeat is a stretch and a crop of its own; frames that several of them want are decoded once.
    """
    n_frames, settings = card.architecture.num_frames, card.input
    if n_frames is None or not isinstance(settings, VideoInput):
        raise TypeError(f"{card.name} reads no videos")
    if recipe.crop_scale is None:
        return video.views(media, card, SINGLE_VIEW).repeat(recipe.repeats_per_decode, 1, 1, 1, 1)
    length = video.clip_length(n_frames, settings.sampling_rate, settings.target_fps, media.fps)
    spare = max(media.num_frames - length, 0.0)
    numbers = [
        video.frame_indices(int(random.uniform(0, spare)), length, n_frames, media.num_frames)
        for _ in range(recipe.repeats_per_decode)
    ]
    wanted = sorted({number for clip in numbers for number in clip})
    pictures = {number: Image.fromarray(pixels) for number, pixels in zip(wanted, media.stream(wanted), strict=True)}
    transform = frame_transform(
        card.architecture.size, settings.mean, settings.std, "bilinear", recipe.crop_scale, recipe.crop_ratio,
        recipe.hflip, recipe.color_jitter, recipe.rand_augment, 0.0,
    )  # fmt: skip
    erase = RandomErasing(recipe.random_erasing, mode="pixel", max_count=1, device="cpu")
    clips = []
    for clip in numbers:
        seed = random.getrandbits(32)
        frames = []
        for number in clip:
            seed_all(seed)  # the same crop, flip and RandAugment for every frame
            frames.append(transform(pictures[number]))
        seed_all(seed + 1)
        stacked = torch.stack(frames, dim=1)  # [3, frames, height, width]
        clips.append(erase(stacked.flatten(0, 1)).view_as(stacked))  # one box through all frames
    return torch.stack(clips)
