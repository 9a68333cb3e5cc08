"""What the app computes, and what it refuses."""

import wave

import numpy as np
import pytest
import timm
import torch

import tome_zoo
from tome_zoo.app import limits, models
from tome_zoo.app.compare import compare
from tome_zoo.app.serve import write_examples
from tome_zoo.cards import model_card
from tome_zoo.errors import MediaError, TomeZooError
from tome_zoo.schedule import resolve
from tome_zoo.transformer.macs import count_macs

FILES = {"image": "*.png", "video": "*.mp4", "audio": "*.wav"}


@pytest.mark.parametrize("modality", FILES)
def test_a_file_at_both_r(tiny_zoo, modality):
    model = tome_zoo.create_model(f"tiny_{modality}.test", pretrained=True)
    path = sorted((tiny_zoo / modality).rglob(FILES[modality]))[0]
    found = compare(model, path, 2, prop_attn=True)
    assert found.unmerged.n_tokens - found.merged.n_tokens == 2 * len(model.blocks)
    for r, at in ((0, found.unmerged), (2, found.merged)):
        assert at.gmacs == count_macs(model, r).gmacs
        assert at.milliseconds > 0
        assert set(at.probabilities) <= set(model.labels)
    if modality == "image":  # one view, as `predict` takes it
        for r, at in ((0, found.unmerged), (2, found.merged)):
            model.r = r
            expected = {item.label: item.probability for item in tome_zoo.predict(model, path)}
            assert at.probabilities == pytest.approx(expected, abs=1e-6)
    assert found.picture.width > 0


def test_attention_by_size_is_as_asked(tiny_zoo):
    model = tome_zoo.create_model("tiny_image.test", pretrained=True)
    path = sorted((tiny_zoo / "image").rglob("*.png"))[0]
    on, off = (compare(model, path, 4, prop_attn=value) for value in (True, False))
    assert on.unmerged.probabilities == off.unmerged.probabilities
    assert on.merged.probabilities != off.merged.probabilities


def test_files_too_large_too_long_or_of_another_kind_are_refused(tiny_zoo, tmp_path, monkeypatch):
    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(np.zeros(8000 * 20, dtype=np.int16).tobytes())
    limits.check_file(long, "audio")
    monkeypatch.setattr(limits, "MAX_SECONDS", 10.0)
    with pytest.raises(MediaError, match="at most 10 s, got 20 s"):
        limits.check_file(long, "audio")
    with pytest.raises(MediaError, match="expected a video, found none"):
        limits.check_file(long, "video")
    monkeypatch.setattr(limits, "MAX_MEGABYTES", 0.1)
    with pytest.raises(MediaError, match=r"at most 0\.1 MB"):
        limits.check_file(long, "audio")
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match="cannot be read as video"):
        limits.check_file(tmp_path / "broken.mp4", "video")


def test_only_models_at_hand_are_offered(tiny_zoo):
    names = models.available_models()
    assert {"demo_image.shapes", "demo_video.motions", "demo_audio.sounds", "tiny_image.test"} <= set(names)
    assert "tiny_encoder.test" not in names


def test_a_model_of_timm_is_loaded_by_its_name(monkeypatch):
    """What timm fetches stands for itself: here its model with the weights it starts from."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: create(name, **options))
    monkeypatch.delenv("TOME_ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    loaded = models.Models(torch.device("cpu"))
    model = loaded.load("deit3_small_patch16_224")
    assert model.card.name == "deit3_small_patch16_224.fb_in1k"
    assert loaded.load(model.card.name) is model


def test_models_without_classes_are_refused(tiny_zoo):
    with pytest.raises(TomeZooError, match="tiny_encoder"):
        models.Models(torch.device("cpu")).load("tiny_encoder.test")


@pytest.mark.parametrize(
    "name", ["deit3_small_patch16_224", "demo_image.shapes", "vit_large_patch16_224.mae_ft_in1k", "tiny_audio.test"]
)
def test_the_slider_offers_schedules_that_the_model_takes(tiny_zoo, name):
    card = model_card(name)
    largest = models.largest_r(card)
    assert 0 < models.default_r(card) <= largest
    for r in (0, 1, largest):
        for decreasing in (False, True):
            per_block = resolve(models.schedule_of(r, decreasing), card.architecture.depth)
            assert len(per_block) == card.architecture.depth
            assert (per_block[0] > per_block[-1]) == (decreasing and r > 0)


def test_there_are_examples_of_each_modality(tmp_path):
    found = write_examples(tmp_path)
    assert {modality: len(paths) for modality, paths in found.items()} == {"image": 3, "video": 3, "audio": 3}
    assert all(path.is_file() for paths in found.values() for path in paths)
