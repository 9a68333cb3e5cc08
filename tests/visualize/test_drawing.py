"""`draw`: which schedules and blocks, and whose models."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import tome_zoo
from tome_zoo.errors import MediaError, ScheduleError, TomeZooError
from tome_zoo.visualize.drawing import name_of


def test_schedules_and_blocks(own_files, models):
    model, path = models["image"], own_files["image"]
    assert [groups.r for groups in tome_zoo.draw(model, path, r=(8, -1.0)).groups] == [(8, -1.0)]
    assert [groups.r for groups in tome_zoo.draw(model, path, r=[[9, 0, 4], 8]).groups] == [[9, 0, 4], 8]
    assert [groups.r for groups in tome_zoo.draw(model, path).groups] == [0]
    every = tome_zoo.draw(model, path, r=[8, 16], block="all")
    assert [(groups.r, groups.block) for groups in every.groups] == [
        (r, block) for r in (8, 16) for block in (1, 2, 3, 4)
    ]
    assert [groups.n_tokens for groups in every.groups][:4] == [136, 128, 120, 112]
    assert [name_of(groups) for groups in every.groups][2:4] == ["r8-block3", "r8"]
    (one,) = tome_zoo.draw(model, path, r=8, block=2).groups
    assert (one.tokens == every.groups[1].tokens).all()


def test_a_timm_model_of_any_size_without_a_card(own_files):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), depth=3).eval()
    drawing = tome_zoo.draw(tome_zoo.patch(model, r=5), own_files["image"])
    assert drawing.subject.name == "vit_tiny_patch16_224"
    assert drawing.sample.view.shape == (3, 64, 96)
    assert drawing.groups[0].n_tokens == 25 - 15
    assert drawing.groups[0].prediction[0].label.startswith("class ")
    with Image.open(own_files["image"]) as picture:
        shown = picture.convert("RGB").resize((16, 16), Image.Resampling.BICUBIC)
    centre = np.asarray(shown).astype(int)[8, 8]
    pixels = drawing.rows[0][0].picture.fill
    assert np.abs(pixels[28:36, 44:52].mean(axis=(0, 1)) - centre).max() < 40


def test_heat_map_of_sizes(own_files, models):
    drawing = tome_zoo.draw(models["image"], own_files["image"], r=24, fill="size")
    assert drawing.rows[-1][0].title == "Tokens in a group"
    assert (
        np.asarray(drawing.image) != np.asarray(tome_zoo.draw(models["image"], own_files["image"], r=24).image)[:1, :1]
    ).any()
    clip = tome_zoo.draw(models["video"], own_files["video"], r=24, fill="size")
    assert len(clip.frames) == 8
    assert tome_zoo.draw(models["audio"], own_files["audio"], r=24, fill="size").image.height > 300


def test_mistakes_are_told(own_files, models, tmp_path):
    model, path = models["image"], own_files["image"]
    with pytest.raises(TomeZooError, match="block should be 1 to 4 or 'all', got 5"):
        tome_zoo.draw(model, path, block=5)
    with pytest.raises(TomeZooError, match="fill should be"):
        tome_zoo.draw(model, path, fill="attention")
    with pytest.raises(TomeZooError, match="at least one r"):
        tome_zoo.draw(model, path, r=[])
    with pytest.raises(ScheduleError):
        tome_zoo.draw(model, path, r=[-1])
    with pytest.raises(MediaError):
        tome_zoo.draw(model, tmp_path / "none.png")
