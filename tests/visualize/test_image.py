"""The picture of an image as a whole."""

import numpy as np
import torch
from PIL import Image

import tome_zoo
from tome_zoo import visualize
from tome_zoo.visualize.image import caption, titles
from tome_zoo.visualize.sheet import GAP, MARGIN, fitted, font


def test_columns_stand_side_by_side_with_words():
    model = tome_zoo.create_model("demo_image.shapes", pretrained=True)
    subject, view = visualize.subject_of(model), torch.rand(3, 96, 96) * 2 - 1
    found = [visualize.groups(model, view, r) for r in (12, [9, 0, 4])]
    panels = visualize.image_panels(subject, view, found)
    assert [panel.title for panel in panels] == ["input", "r = 12", "r = 9,0,4"]
    assert panels[1].lines[0] == "96 of 144 tokens"
    assert panels[2].lines[0] == "131 of 144 tokens"
    sheet = visualize.render_image(subject, view, found, scale=2)
    assert isinstance(sheet, Image.Image)
    assert sheet.width == 2 * MARGIN + 3 * 192 + 2 * GAP
    for column, panel in enumerate(panels):
        left, top = MARGIN + column * (192 + GAP), MARGIN + 26
        shown = sheet.crop((left, top, left + 192, top + 192))
        assert (np.asarray(shown) == np.asarray(panel.picture.image(2))).all()
        assert np.asarray(sheet.crop((left, 0, left + 192, top))).min() < 128  # a title


def test_words_name_the_block_and_the_prediction():
    model = tome_zoo.create_model("demo_image.shapes", pretrained=True)
    found = visualize.groups_by_block(model, torch.randn(3, 96, 96), r=(8, -1.0))
    assert titles(found)[1:] == [f"r = 8:-1, block {block} of 4" for block in (2, 3, 4)]
    assert titles(found[-1:]) == ["r = 8:-1"]
    assert caption(found[1]) == ("118 of 144 tokens",)
    best = found[-1].prediction[0]
    assert caption(found[-1])[1] == f"{best.label}, {100 * best.probability:.0f} %"


def test_long_words_are_shortened_in_the_middle():
    face = font(15)
    short = fitted("a very long label that no panel could ever hold", face, 120)
    assert face.getlength(short) <= 120
    assert short.startswith("a ver")
    assert short.endswith("hold")
    assert fitted("short", face, 120) == "short"


def test_other_reducers_are_named_and_dropped_tokens_counted(own_files, models):
    model = tome_zoo.create_model("demo_image.shapes", pretrained=True)
    model.reducer = "random"
    (groups,) = tome_zoo.draw(model, own_files["image"], r=24).groups
    assert titles([groups]) == ["r = 24, random"]
    assert groups.n_dropped == 144 - 48
    assert caption(groups)[1] == "96 dropped, drawn with what stands in"
    (merged,) = tome_zoo.draw(models["image"], own_files["image"], r=24).groups
    assert (merged.reducer, merged.n_dropped) == ("", 0)
