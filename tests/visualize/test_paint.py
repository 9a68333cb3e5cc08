"""Fills and outlines against loops over pixels."""

import numpy as np
import pytest
import torch

import tome_zoo
from tome_zoo import visualize
from tome_zoo.visualize.paint import SINGLE, border, group_means


@pytest.fixture(scope="module")
def painted():
    """Pixels of a clip, its groups and their pictures."""
    model = tome_zoo.create_model("demo_video.motions", r=40, img_size=(16, 24))
    view = torch.rand(3, 8, 16, 24) * 2 - 1
    pixels = visualize.colours(visualize.subject_of(model), view)
    groups = visualize.groups(model, view)
    return pixels, groups, visualize.paint(pixels, groups)


def test_pixels_are_those_of_the_view():
    model = tome_zoo.create_model("demo_image.shapes")
    subject = visualize.subject_of(model)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    view = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - 0.5) / 0.5
    assert (visualize.colours(subject, view) == pixels).all()


def test_each_group_has_its_mean_colour_through_time(painted):
    pixels, groups, frames = painted
    assert len(frames) == len(pixels) == 8
    for group in range(len(groups.sizes)):
        members = groups.pixels == group
        assert members.sum() == groups.sizes[group] * 2 * 8 * 8
        mean = np.rint(pixels[members].astype(float).mean(axis=0))
        for number, frame in enumerate(frames):
            assert (np.abs(frame.fill[members[number]] - mean) <= 0.5).all()


def test_the_largest_groups_are_the_brightest(painted):
    pixels, groups, _ = painted
    frames = visualize.paint(pixels, groups, "size")
    brightness = np.stack([frame.fill.astype(int).sum(axis=-1) for frame in frames])
    size = groups.sizes[groups.pixels]
    for small, large in zip(np.unique(size)[:-1], np.unique(size)[1:], strict=True):
        assert brightness[size == small].max() < brightness[size == large].min()


def slow_border(groups, width):
    edge = np.zeros(groups.shape, dtype=bool)
    for y, x in np.ndindex(groups.shape):
        around = groups[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
        edge[y, x] = groups[y, x] >= 0 and ((around != groups[y, x]) & (around >= 0)).any()
    return edge


@pytest.mark.parametrize("width", [1, 2, 3])
def test_border(width):
    cells = np.random.default_rng(1).integers(-1, 3, (4, 6))
    groups = cells.repeat(5, axis=0).repeat(4, axis=1)
    assert (border(groups, width) == slow_border(groups, width)).all()


def test_enlarged_pictures_show_fill_and_outline_pixel_by_pixel(painted):
    _, groups, frames = painted
    for scale in (1, 3):
        picture = np.asarray(frames[2].image(scale))
        index = groups.pixels[2].repeat(scale, axis=0).repeat(scale, axis=1)
        near, far = slow_border(index, 1), slow_border(index, 2)
        for y, x in np.ndindex(index.shape):
            group = index[y, x]
            merged = groups.sizes[group] > 1
            outlined = near[y, x] or (scale > 1 and merged and far[y, x])
            expected = frames[2].lines[group] if outlined else frames[2].fill[y // scale, x // scale]
            assert (picture[y, x] == expected).all()
            assert merged or not outlined or tuple(picture[y, x]) == SINGLE


def test_pixels_that_no_patch_reads_are_dimmed():
    pixels = np.full((2, 3, 3), 200, np.uint8)
    means = group_means(pixels, np.array([[0, 0, -1], [0, 0, -1]]))
    assert (means == 200).all()


def test_a_group_keeps_its_colour_when_it_grows():
    model = tome_zoo.create_model("demo_image.shapes", pretrained=True)
    view = torch.randn(3, 96, 96)
    pixels = visualize.colours(visualize.subject_of(model), view)
    few, many = (visualize.groups(model, view, r) for r in (12, 36))
    shades = [
        dict(zip(groups.first.tolist(), visualize.paint(pixels, groups)[0].lines.tolist(), strict=True))
        for groups in (few, many)
    ]
    grown = [f for f, size in zip(few.first, few.sizes, strict=True) if size > 1 and f in shades[1]]
    assert grown
    assert all(shades[0][first] == shades[1][first] for first in grown)
