"""`draw`: which schedules and blocks, and whose models."""

import io

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
    assert drawing.subject.name == model.pretrained_cfg["architecture"] + "." + model.pretrained_cfg["tag"]
    assert drawing.sample.view.shape == (3, 64, 96)
    assert drawing.groups[0].n_tokens == 25 - 15
    assert drawing.groups[0].prediction[0].label in drawing.subject.labels
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


def test_whatever_a_person_has(own_files, models):
    path = own_files["image"]
    expected = tome_zoo.draw(models["image"], path, r=24)
    with Image.open(path) as picture:
        shown = tome_zoo.draw("demo_image.shapes", picture.convert("RGB"), r=24)
        turned = picture.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    assert (shown.groups[0].tokens == expected.groups[0].tokens).all()
    assert shown.sample.name == "input"
    exif = Image.Exif()
    exif[274] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    buffer.seek(0)
    upright = tome_zoo.draw(models["image"], buffer, r=24)
    assert (upright.sample.view == expected.sample.view).all()


def test_the_drawn_part_of_a_long_recording_is_named(models):
    noise = np.random.default_rng(0).normal(0, 0.1, 16000 * 4).astype(np.float32)
    long = tome_zoo.draw(models["audio"], noise, r=24, rate=16000)
    assert long.sample.coverage == "0.0 to 2.6 s of 4.0 s"
    assert tome_zoo.draw(models["audio"], noise[: int(16000 * 2.6)], r=24, rate=16000).sample.coverage == ""
    frames = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    clip = tome_zoo.draw(models["video"], frames, r=24, rate=10)
    assert clip.rows[0][0].lines == ("1.6 to 2.4 s of 4.0 s",)
