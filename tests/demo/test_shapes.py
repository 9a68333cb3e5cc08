import numpy as np
from PIL import Image

from tome_zoo.demo import shapes


def test_an_image_depends_on_its_seed_alone():
    for label in range(len(shapes.LABELS)):
        first, again = (shapes.render(np.random.default_rng(label), label) for _ in range(2))
        assert first.shape == (96, 96, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, shapes.render(np.random.default_rng(label + 1), label))


def test_samples_take_classes_in_turn_and_differ_between_seeds():
    ours, other = (list(shapes.samples(count=12, seed=seed)) for seed in (1, 2))
    assert [label for _, label in ours] == [*range(10), 0, 1]
    assert all(not np.array_equal(a, b) for (a, _), (b, _) in zip(ours, other, strict=True))


def test_a_longer_data_set_begins_with_the_shorter_one():
    short, long = (list(shapes.samples(count=count, seed=3)) for count in (2, 5))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(short, long, strict=False))


def test_a_png_holds_the_pixels_drawn(tmp_path):
    paths = list(shapes.write(tmp_path, split="val", count=11, seed=4))
    assert paths[10] == tmp_path / "val" / "arrow" / "00010.png"
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == sorted(shapes.LABELS)
    for path, (image, label) in zip(paths, shapes.samples(count=11, seed=4), strict=True):
        assert path.parent.name == shapes.LABELS[label]
        assert np.array_equal(np.asarray(Image.open(path)), image)
