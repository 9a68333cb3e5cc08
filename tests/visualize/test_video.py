"""Clips: contact sheets and what plays."""

import numpy as np
import torch

from tome_zoo import visualize
from tome_zoo.visualize.sheet import GAP, MARGIN
from tome_zoo.visualize.video import clip_panels, strips


def test_each_frame_shows_its_own_groups(models):
    model = models["video"]
    subject, view = visualize.subject_of(model), torch.rand(3, 8, 64, 64) * 2 - 1
    groups = visualize.groups(model, view, r=40)
    panels = clip_panels(subject, view, [groups])
    trace = model_trace(model, view, 40)
    for number, (original, merged) in enumerate(panels):
        assert original.title == "input"
        assert merged.title == "r = 40"
        assert (original.picture.fill == visualize.colours(subject, view)[number]).all()
        cells = trace.reshape(4, 8, 8)[number // 2].repeat(8, axis=0).repeat(8, axis=1)
        assert (merged.picture.groups == cells).all()


def model_trace(model, view, r):
    before, model.r = model.r, r
    trace = model.trace(view[None]).final[0].numpy()
    model.r = before
    return trace


def test_contact_sheet_takes_eight_frames_from_first_to_last():
    frames = [
        [visualize.Panel(visualize.Painted(np.full((8, 8, 3), number, np.uint8)), "input")] for number in range(16)
    ]
    (row,) = strips(frames)
    (strip,) = row
    assert strip.picture.fill[0, ::12, 0].tolist() == [0, 2, 4, 6, 9, 11, 13, 15]
    assert (strip.picture.fill[:, 8:12] == 255).all()


def test_no_outline_towards_the_space_between_frames(models):
    model = models["video"]
    view = torch.rand(3, 8, 64, 64) * 2 - 1
    groups = visualize.groups(model, view, r=128)
    _, (strip,) = strips(clip_panels(visualize.subject_of(model), view, [groups]))
    one = visualize.paint(visualize.colours(visualize.subject_of(model), view), groups)[0]
    assert (np.asarray(strip.picture.image(2))[:, :128] == np.asarray(one.image(2))).all()


def test_drawing_has_frames_beside_the_original(drawings):
    drawing = drawings["video"]
    assert len(drawing.frames) == 8
    assert drawing.sample.rate == 10
    assert {frame.size for frame in drawing.frames} == {drawing.frames[0].size}
    assert drawing.frames[0].width == 2 * MARGIN + 3 * 320 + 2 * GAP
    assert (np.asarray(drawing.frames[0]) != np.asarray(drawing.frames[7])).any()
