"""Sounds: PyAV decodes, torchaudio resamples and computes Kaldi's log-mel filter bank, as AudioMAE's features."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torchaudio.compliance.kaldi
from torch import Tensor

from tome_zoo.errors import MediaError
from tome_zoo.modalities._audio_decode import decode
from tome_zoo.modalities._checks import input_of, regular_file, single_view
from tome_zoo.modalities._resample import Resampler
from tome_zoo.modalities.inputs import AudioInput, Span, Spec, ViewProtocol
from tome_zoo.transformer.architecture import Architecture

WINDOW = 25.0  # ms, Kaldi's frame length


def read(path: str | Path, spec: Spec | None = None, *, span: Span | None = None) -> Tensor:
    """Decode a sound, or the sound track of a video, to one channel at the card's rate.

    `spec.input.channel` tells how several channels become one: "mean" mixes them, "first" takes channel 0. Without a
    model they are mixed, and the rate is the file's own. With a `span` only that stretch is read; what follows is not
    looked at.

    Returns:
        The waveform, [samples], float32, full scale is 1.

    Raises:
        MediaError: If the file is missing, has no sound, cannot be decoded or is shorter than one analysis window.
    """
    settings = None if spec is None else input_of(spec, AudioInput)
    blocks = _resampled(regular_file(path, "a sound"), settings)
    if span is None:
        return torch.cat([block for block, _ in blocks])
    parts: list[Tensor] = []
    count, rate = 0, 1
    for block, rate in blocks:
        first, end = round(span.start * rate), span.end * rate if math.isinf(span.end) else round(span.end * rate)
        if count + len(block) > first:
            parts.append(block[max(0, first - count) : int(min(end - count, len(block)))].clone())
        count += len(block)
        if count >= end:
            break
    found = torch.cat(parts) if parts else torch.empty(0)
    if not len(found):
        raise MediaError(f"{path}: the sound ends before {span.start:g} s, where the stretch begins")
    if len(found) < _window(rate):
        raise MediaError(f"{path}: {_too_short(1000 * len(found) / rate)}")
    return found


def load(path: str | Path, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """The views of a sound file; of a long one only the stretches that they show are kept in memory.

    Raises:
        MediaError: As `read` and `views`.
        CardError: As `views`.
    """
    single_view(protocol, "sounds")
    if protocol.temporal_views > 1:  # where they lie depends on how long it is
        return views(read(path, spec), spec, protocol)
    settings = input_of(spec, AudioInput)
    length = view_samples(spec, settings)
    kept: list[Tensor] = []
    count, total = 0, 0.0
    for block, _ in _resampled(regular_file(path, "a sound"), settings):
        if count < length:
            kept.append(block[: length - count].clone())
        count, total = count + len(block), total + block.sum(dtype=torch.float64).item()
    return _features(torch.cat(kept) - total / count, spec, settings).unsqueeze(0)


def views(media: Tensor, spec: Spec, protocol: ViewProtocol) -> Tensor:
    """Filter banks of the sound's beginning or, with several temporal views, of stretches spread evenly over it.

    Args:
        media: Waveform, [samples], as `read` gives it.
        spec: The model; its input size is (frames, mel bins).
        protocol: How many temporal views; there is one spatial view.

    Returns:
        [views, 1, frames, mel bins], float32. A sound that is too short is padded at its end.

    Raises:
        MediaError: If the sound is shorter than one analysis window.
        CardError: If the protocol asks for several spatial views.
    """
    single_view(protocol, "sounds")
    settings = input_of(spec, AudioInput)
    window = _window(settings.sample_rate)
    if media.ndim != 1:
        raise MediaError(f"expected a waveform of shape [samples], got {list(media.shape)}")
    if len(media) < window:
        raise MediaError(_too_short(1000 * len(media) / settings.sample_rate))
    media = media.to(torch.float32)
    mean = media.sum(dtype=torch.float64).item() / len(media)
    length = view_samples(spec, settings)
    starts = crop_starts(len(media), length, protocol.temporal_views)
    return torch.stack([_features(media[start : start + length] - mean, spec, settings) for start in starts])


def crop_starts(samples: int, length: int, n_views: int) -> list[int]:
    """First samples of `n_views` stretches of `length`, spread evenly over the sound; one: its beginning."""
    spare = max(samples - length, 0)
    return [round(view * spare / (n_views - 1)) if n_views > 1 else 0 for view in range(n_views)]


def token_grid(spec: Spec) -> tuple[int, int, int]:
    """Patches along (1, frames, mel bins)."""
    return spec.architecture.grid


def embed_layer(architecture: Architecture) -> Callable[..., torch.nn.Module]:
    """The patch embedding for timm's `embed_layer=`: timm's own, or one of overlapping patches."""
    from tome_zoo.transformer.embed import patch_embed

    return patch_embed(architecture)


@torch.no_grad()
def _features(waveform: Tensor, spec: Spec, settings: AudioInput) -> Tensor:
    """[samples] -> [1, frames, mel bins]."""
    frames, bins = spec.architecture.size
    features = torchaudio.compliance.kaldi.fbank(
        waveform.unsqueeze(0),
        htk_compat=True,
        sample_frequency=settings.sample_rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=bins,
        dither=0.0,
        frame_shift=settings.frame_shift,
    )[:frames]
    features = torch.nn.functional.pad(features, (0, 0, 0, frames - len(features)))
    return ((features - settings.mean) / (2 * settings.std)).unsqueeze(0)


def _resampled(path: Path, settings: AudioInput | None) -> Iterator[tuple[Tensor, int]]:
    """(samples, rate) of a sound at the model's rate, or without a model at its own, block by block."""
    resampler, rate, wanted, count = None, 1, 1, 0
    for block in decode(path, "mean" if settings is None else settings.channel):
        if resampler is None:
            rate = block.rate
            wanted = rate if settings is None else settings.sample_rate
            resampler = Resampler(rate, wanted)
        count += len(block.samples)
        yield from ((ready, wanted) for ready in resampler.add(block.samples))
    if resampler is not None:
        yield from ((ready, wanted) for ready in resampler.finish())
    if count * wanted // rate < _window(wanted):
        raise MediaError(f"{path}: {_too_short(1000 * count / rate)}")


def view_samples(spec: Spec, settings: AudioInput) -> int:
    """Samples of which the filter bank has exactly as many frames as the model sees."""
    shift = int(settings.sample_rate * settings.frame_shift / 1000)
    return _window(settings.sample_rate) + (spec.architecture.size[0] - 1) * shift


def _window(rate: int) -> int:
    return int(rate * WINDOW / 1000)


def _too_short(milliseconds: float) -> str:
    return (
        f"the sound lasts {milliseconds:.1f} ms, expected at least {WINDOW:g} ms, one analysis window; use a longer one"
    )
