"""Sounds: spectrograms with axes, and what is left to hear."""

import math

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

import tome_zoo
from tome_zoo import modalities, visualize
from tome_zoo.visualize.audio import bin_position, heard_frames, sound_figure, spectrogram_panels
from tome_zoo.visualize.listen import SILENCE, invert, mean_patches
from tome_zoo.visualize.subject import DrawnView


def test_groups_over_the_spectrogram_are_those_of_the_trace(models, drawings):
    drawing = drawings["audio"]
    (_, merged) = drawing.groups
    model = models["audio"]
    model.r = 30
    trace = model.trace(drawing.sample.view[None]).final[0].numpy().reshape(32, 8)
    model.r = 0
    *_, (painted, title, _) = spectrogram_panels(drawing.subject, drawing.sample, drawing.groups)
    assert title == "r = 30"
    levels = visualize.log_mel(drawing.subject, drawing.sample.view)
    shades = {}
    for row, column in np.ndindex(painted.groups.shape):
        frame, mel_bin = column, 63 - row  # time to the right, high tones above
        group = trace[frame // 8, mel_bin // 8]
        assert painted.groups[row, column] == group
        shades.setdefault(group, set()).add(tuple(painted.fill[row, column].tolist()))
    assert all(len(shade) == 1 for shade in shades.values())
    members = merged.pixels == int(np.argmax(merged.sizes))
    assert levels[members].std() > 0


def test_the_view_is_turned_back_into_kaldis_levels(drawings):
    drawing = drawings["audio"]
    waveform = drawing.sample.waveform - drawing.sample.waveform.mean()
    expected = kaldi.fbank(
        waveform[None], htk_compat=True, sample_frequency=16000, use_energy=False, window_type="hanning",
        num_mel_bins=64, dither=0.0,
    )  # fmt: skip
    levels = visualize.log_mel(drawing.subject, drawing.sample.view)
    frames = heard_frames(drawing.subject, drawing.sample)
    assert torch.allclose(torch.from_numpy(levels[:frames]), expected[:frames], atol=1e-4)


def test_frequencies_stand_where_kaldis_filters_have_their_peaks():
    filters, centres = kaldi.get_mel_banks(64, 512, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    for mel_bin, centre in enumerate(centres.flatten().tolist()):
        assert bin_position(centre, 16000, 64) == pytest.approx(mel_bin + 0.5, abs=1e-3)
    peak = int(filters[40].argmax()) * 16000 / 512
    assert bin_position(peak, 16000, 64) == pytest.approx(40.5, abs=0.6)


def test_axes_say_seconds_and_hertz(drawings):
    drawing = drawings["audio"]
    figure = sound_figure([(drawing.subject, drawing.sample, drawing.groups)])
    assert len(figure.axes) == 3
    axes = figure.axes[1]
    width, height = axes.images[0].get_array().shape[1::-1]
    seconds = [float(label.get_text()) for label in axes.get_xticklabels()]
    assert np.allclose(axes.get_xticks() / width * 2.56, seconds)
    for place, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        hertz = float(label.get_text().replace(",", ""))
        assert place / height * 64 == pytest.approx(bin_position(hertz, 16000, 64))
    assert axes.get_ylabel() == "Hz (mel)"
    assert figure.axes[-1].get_xlabel() == "seconds"
    box = axes.get_window_extent()
    assert (round(box.width), round(box.height)) == (width, height)  # drawn pixel by pixel


def test_padding_is_marked_only_where_there_is_some(drawings):
    drawing = drawings["audio"]
    short = DrawnView("short", drawing.sample.view, waveform=drawing.sample.waveform[:16000])
    assert heard_frames(drawing.subject, short) == (16000 - 400) // 160 + 1
    marked = sound_figure([(drawing.subject, short, drawing.groups)]).axes[0]
    (line,) = marked.lines
    assert line.get_xdata()[0] == pytest.approx(98 / 256 * marked.images[0].get_array().shape[1])
    assert not sound_figure([(drawing.subject, drawing.sample, drawing.groups)]).axes[0].lines


def test_a_heat_map_has_a_legend(drawings):
    drawing = drawings["audio"]
    figure = sound_figure([(drawing.subject, drawing.sample, drawing.groups)], "size")
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == [str(2**n) for n in range(9)]


def test_every_patch_holds_the_mean_patch_of_its_group():
    model = tome_zoo.create_model("demo_audio.sounds", r=40)
    view = torch.randn(1, 256, 64)
    groups = visualize.groups(model, view)
    levels = np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32)
    left = mean_patches(levels, groups).numpy()
    patches = {place: levels[8 * place[0] : 8 * place[0] + 8, 8 * place[1] : 8 * place[1] + 8]
               for place in np.ndindex(32, 8)}  # fmt: skip
    for (frame, mel_bin), group in np.ndenumerate(groups.tokens[0]):
        members = [patches[tuple(place)] for place in np.argwhere(groups.tokens[0] == group)]
        shown = left[8 * frame : 8 * frame + 8, 8 * mel_bin : 8 * mel_bin + 8]
        assert np.allclose(shown, np.mean(members, axis=0), atol=1e-5)


def test_unmerged_overlapping_patches_leave_the_sound_as_it_was():
    model = tome_zoo.create_model(
        "audio_vit_base_patch16_1024x128.ast_as2m_ft", img_size=(96, 44), depth=1, embed_dim=24, num_heads=2
    )
    groups = visualize.groups(model, torch.randn(1, 96, 44), r=0)
    levels = np.random.default_rng(0).normal(size=(96, 44)).astype(np.float32)
    left = mean_patches(levels, groups).numpy()
    assert np.allclose(left[:, :36], levels[:, :36], atol=1e-6)
    assert (left[:, 36 + 6 :] == np.float32(SILENCE)).all()


def test_a_tone_comes_back_from_its_filter_bank(models):
    subject = visualize.subject_of(models["audio"])
    time = torch.arange(40_000) / 16000
    tone = 0.3 * torch.sin(2 * math.pi * 1000 * time)
    view = modalities.get("audio").views(tone, subject.spec, subject.protocol)[0]
    levels = torch.from_numpy(visualize.log_mel(subject, view))[:248]
    sound = invert(levels, subject)
    middle = sound[8000:24000]
    spectrum = torch.fft.rfft(middle * torch.hann_window(16000)).abs()
    assert abs(int(spectrum.argmax()) - 1000) <= 40  # Hz; a mel bin is about 90 Hz wide here
    assert middle.square().mean().sqrt() == pytest.approx(0.3 / math.sqrt(2), rel=0.2)


def test_what_is_left_is_near_at_r_0_and_further_away_when_much_merges(drawings):
    drawing = drawings["audio"]
    sounds = drawing.sounds
    assert list(sounds) == ["original", "r0", "r30"]
    assert {len(sound) for sound in sounds.values()} == {len(sounds["original"])}

    def levels(sound):
        view = modalities.get("audio").views(sound, drawing.subject.spec, drawing.subject.protocol)[0]
        return visualize.log_mel(drawing.subject, view)[: heard_frames(drawing.subject, drawing.sample)]

    off = {name: np.abs(levels(sound) - levels(sounds["original"])).mean() for name, sound in sounds.items()}
    assert off["r0"] < 0.3 < off["r30"]  # in nepers of power, over all mel bins


def test_images_have_nothing_to_hear(drawings):
    assert drawings["image"].sounds == {}
