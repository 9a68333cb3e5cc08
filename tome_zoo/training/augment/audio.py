"""Sounds for training: waveforms are added, rolled and amplified before the filter bank; bars of it are blanked."""

import random

import torch
import torchaudio.functional
from torch import Tensor

from tome_zoo.cards.schema import ModelCard, RecipeCard
from tome_zoo.modalities import audio
from tome_zoo.modalities.inputs import AudioInput
from tome_zoo.training.augment.single_view import SINGLE_VIEW


def views(media: Tensor, card: ModelCard, recipe: RecipeCard) -> Tensor:
    """`[repeats_per_decode, 1, frames, mel bins]`, float32.

    Bars are blanked with the filter bank's value 0, which is `-mean / (2 std)` once it is normalised.
    """
    if not isinstance(card.input, AudioInput):
        raise TypeError(f"{card.name} reads no sounds")
    blank = -card.input.mean / (2 * card.input.std)
    made = []
    for _ in range(recipe.repeats_per_decode):
        wave = media - media.mean()
        if recipe.waveform_roll:
            wave = wave.roll(random.randrange(len(wave)))
        if recipe.waveform_gain is not None:
            wave = wave * (0.5 + random.betavariate(recipe.waveform_gain, recipe.waveform_gain))
        view = audio.views(wave, card, SINGLE_VIEW)
        for width, axis in ((recipe.time_bar, 2), (recipe.frequency_bar, 3)):
            if width:
                width = min(width, view.shape[axis])
                view = torchaudio.functional.mask_along_axis(view, width, blank, axis)
        made.append(view)
    return torch.cat(made)


def mix(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """`weight` of the first waveform and the rest of the second, which is cut or padded to the first's length."""
    first, second = first - first.mean(), second - second.mean()
    second = torch.nn.functional.pad(second[: len(first)], (0, max(0, len(first) - len(second))))
    return weight * first + (1 - weight) * second
