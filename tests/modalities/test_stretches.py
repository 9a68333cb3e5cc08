"""A stretch of a recording is what a file that holds nothing else would give."""

import numpy as np
import pytest
import torch

from tome_zoo import modalities
from tome_zoo.cards import dataset_card
from tome_zoo.data.dataset import open_dataset
from tome_zoo.data.decode import decode
from tome_zoo.errors import MediaError
from tome_zoo.modalities import audio, video
from tome_zoo.modalities.inputs import Span


@pytest.mark.parametrize("span", [(0, 0.5), (0.25, 0.75), (1, 9), (0.5, float("inf")), (1.9, 2)])
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_stretch_of_a_sound(write_sound, span, ending):
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, 2 * 16000)
    path = write_sound(f"a.{ending}", samples, codec="flac" if ending == "flac" else "pcm_s16le")
    whole = audio.read(path)
    first, end = round(span[0] * 16000), int(min(span[1] * 16000, len(whole)))
    assert torch.equal(audio.read(path, span=Span(*span)), whole[first:end])


def test_a_stretch_at_the_models_rate(write_sound, audio_spec):
    path = write_sound("a.wav", np.random.default_rng(0).uniform(-0.9, 0.9, 3 * 44100), 44100)
    whole = audio.read(path, audio_spec())
    assert torch.equal(audio.read(path, audio_spec(), span=Span(0.7, 2.2)), whole[11200:35200])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize(
    ("span", "frames"), [((0, 0.4), range(10)), ((0.4, 0.8), range(10, 20)), ((1.1, 9), range(28, 30))]
)
def test_a_stretch_of_a_video(write_video, every_frame, name, span, frames):
    path = write_video(name, 30, codec="mpeg4" if name == "a.avi" else "libx264")
    stretch = video.read(path, span=Span(*span))
    assert stretch.num_frames == len(frames)
    assert np.array_equal(stretch.frames(range(len(frames))).numpy(), every_frame(path)[list(frames)])


def test_times_of_a_variable_rate_count(write_video):
    path = write_video(frames=20, rate=1000, times=lambda number: number * 40 + (number >= 10) * 2000)
    assert video.read(path, span=Span(0, 2.4)).num_frames == 10
    assert video.read(path, span=Span(2.4, 3)).num_frames == 10


def test_stretches_that_are_not_there_are_refused(write_sound, write_video, tmp_path):
    for modality, path in (("audio", write_sound("a.wav", np.zeros(16000))), ("video", write_video(frames=25))):
        with pytest.raises(MediaError, match="ends before 3 s"):
            modalities.get(modality).read(path, span=Span(3, 4))
    with pytest.raises(MediaError, match="an image has no stretch"):
        modalities.get("image").read(tmp_path / "a.png", span=Span(0, 1))
    with pytest.raises(MediaError, match=r"lasts 10\.0 ms"):
        modalities.get("audio").read(write_sound("b.wav", np.zeros(16000)), span=Span(0.1, 0.11))


@pytest.mark.parametrize("n_views", [1, 3])
def test_samples_of_one_file_are_decoded_one_by_one(write_sound, tmp_path, audio_spec, views_of, n_views):
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, 4 * 16000)
    write_sound("a.wav", samples)
    (tmp_path / "val.csv").write_text("path,start,end,label\na.wav,0,2,x\na.wav,2,4,y\na.wav,7,8,y\n")
    dataset = open_dataset(tmp_path, dataset_card("sound_folder"))
    found = list(decode(dataset, range(3), audio_spec(), views_of(n_views)))
    for item, part in zip(found, (samples[:32000], samples[32000:]), strict=False):
        expected = audio.views(audio.read(write_sound("part.wav", part)), audio_spec(), views_of(n_views))
        assert torch.equal(item.views, expected)
    assert "ends before 7 s" in found[2].reason
