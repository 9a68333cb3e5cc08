"""The sound that is left once tokens have merged: every patch of a group becomes the group's mean patch.

The way back from Kaldi's log-mel energies is approximate in two steps: mel bins are sums over neighbouring frequencies,
for which the nearest non-negative spectrum is sought, and phases are gone, for which Griffin and Lim's method finds
consistent ones. A sound at r = 0 tells how much of what one hears is that way back.
"""

import wave
from typing import IO, Any

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F
from torchaudio.compliance import kaldi

from tome_zoo.modalities.audio import WINDOW
from tome_zoo.visualize.audio import LOWEST, heard_frames
from tome_zoo.visualize.subject import DrawnView, Subject, log_mel
from tome_zoo.visualize.token_groups import Groups

PREEMPHASIS = 0.97  # Kaldi's
SILENCE = float(np.log(np.finfo(np.float32).eps))  # Kaldi's floor of log energies
_INVERSE_STEPS, _PHASE_STEPS = 30, 32


def heard(subject: Subject, sample: DrawnView) -> Tensor:
    """The stretch of the sound that the model hears, float32 `[samples]`."""
    if sample.waveform is None:
        raise ValueError(f"expected a sound, got {sample.name} without one")
    _, window, shift = _windows(subject)
    return sample.waveform[: window + (heard_frames(subject, sample) - 1) * shift]


def left_over(subject: Subject, sample: DrawnView, groups: Groups) -> Tensor:
    """What is left of that stretch, float32 `[samples]`, as long as `heard` gives it."""
    frames = heard_frames(subject, sample)
    levels = mean_patches(log_mel(subject, sample.view), groups)[:frames]
    sound = invert(levels, subject)
    length = len(heard(subject, sample))
    return F.pad(sound, (0, max(0, length - len(sound))))[:length]


def mean_patches(levels: np.ndarray, groups: Groups) -> Tensor:
    """A spectrogram in which each patch is the mean of the patches of its group; where patches overlap, their mean.

    Args:
        levels: Log-mel energies, `[frames, mel bins]`.
        groups: Of the view that they come from.

    Returns:
        float32 `[frames, mel bins]`. With every token on its own, `levels` again; silence where no patch looks.
    """
    spectrogram = torch.from_numpy(levels)[None, None]
    size: Any = spectrogram.shape[-2:]
    patches = F.unfold(spectrogram, groups.kernel, stride=groups.stride)[0]  # [pixels of a patch, patches]
    index = torch.from_numpy(groups.tokens).flatten()
    means = torch.zeros(len(patches), len(groups.sizes)).index_add(1, index, patches)
    means = means / torch.from_numpy(groups.sizes)
    both = torch.stack([means[:, index], torch.ones_like(patches)])
    total, count = F.fold(both, size, groups.kernel, stride=groups.stride)[:, 0]
    return torch.where(count > 0, total / count.clamp(min=1), SILENCE)


def invert(levels: Tensor, subject: Subject) -> Tensor:
    """Kaldi's log-mel energies `[frames, mel bins]` to a sound, float32 `[samples]`; an approximation.

    The power spectrum is the non-negative one whose mel energies come nearest (Kullback-Leibler divergence, by Lee and
    Seung's multiplicative steps); phases are torchaudio's Griffin-Lim; Kaldi's pre-emphasis is undone at the end.
    """
    rate, window, shift = _windows(subject)
    n_fft = 1 << (window - 1).bit_length()
    filters, _ = kaldi.get_mel_banks(levels.shape[1], n_fft, rate, LOWEST, 0.0, 100.0, -500.0, 1.0)
    filters = F.pad(filters, (0, 1))  # [mel bins, frequencies]
    energies = levels.exp().T
    power = energies.mean() * torch.ones(filters.shape[1], levels.shape[0])
    for _ in range(_INVERSE_STEPS):
        ratio = energies / (filters @ power).clamp(min=1e-20)
        power = power * (filters.T @ ratio) / filters.sum(dim=0).clamp(min=1e-12).unsqueeze(1)
    phases = torchaudio.transforms.GriffinLim(
        n_fft, _PHASE_STEPS, win_length=window, hop_length=shift, power=2.0, rand_init=False
    )
    sound = F.pad(phases(power), (window // 2, 0))  # frames are centred in torchaudio, and begin at 0 in Kaldi
    forward, back = torch.tensor([1.0, 0.0]), torch.tensor([1.0, -PREEMPHASIS])
    return torchaudio.functional.lfilter(sound, back, forward, clamp=False)


def write_wav(sound: Tensor, rate: int, file: IO[bytes]) -> None:
    """A WAV of 16 bits, mono; a sound that is louder than full scale is turned down to it."""
    peak = max(1.0, float(sound.abs().max()))
    samples = (sound / peak * 32767).round().to(torch.int16).numpy()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.astype("<i2").tobytes())


def _windows(subject: Subject) -> tuple[int, int, int]:
    """Sample rate in Hz, samples of an analysis window, and from one to the next."""
    settings: Any = subject.spec.input
    rate = settings.sample_rate
    return rate, int(rate * WINDOW / 1000), int(rate * settings.frame_shift / 1000)
