import av
import numpy as np
import pytest

from tome_zoo.demo import motions


def test_a_clip_depends_on_its_seed_alone():
    first, again = (motions.render(np.random.default_rng(5), 6) for _ in range(2))
    assert first.shape == (8, 64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("name", "axis", "step"), [("left", 1, -2), ("right", 1, 2), ("up", 0, -2), ("down", 0, 2)])
def test_the_picture_moves_the_way_it_is_called(monkeypatch, name, axis, step):
    monkeypatch.setattr(motions, "_JITTER", 0.0)
    monkeypatch.setattr(motions, "_SPEED", (2.0, 2.0))
    errors = dict.fromkeys((-step, 0, step), 0.0)
    for seed in range(3):
        clip = motions.render(np.random.default_rng(seed), motions.LABELS.index(f"move {name}")).astype(float)
        for way in errors:
            errors[way] += np.abs(np.roll(clip[0], way, axis) - clip[1])[8:-8, 8:-8].mean()
    assert min(errors, key=errors.__getitem__) == step


def test_opposite_classes_are_each_other_backwards():
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0))
    pairs = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    for one, other in pairs:
        assert np.allclose(motions._warp(one, x, y, 1.5), motions._warp(other, x, y, -1.5))


def test_the_list_and_the_videos_are_what_was_drawn(tmp_path):
    paths = list(motions.write(tmp_path, split="val", count=3, seed=4))
    assert (tmp_path / "val.csv").read_text() == "val/00000.mp4 0\nval/00001.mp4 1\nval/00002.mp4 2\n"
    for path, (clip, _) in zip(paths, motions.samples(count=3, seed=4), strict=True):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.average_rate == motions.RATE
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        assert frames.shape == clip.shape
        luma = np.array([0.299, 0.587, 0.114])
        assert np.abs(frames @ luma - clip @ luma).mean() < 6  # of 255: lossy, colours at half resolution


def test_a_clip_gives_the_same_file_every_time(tmp_path):
    for clip, label in motions.samples(count=4, seed=4):
        files = []
        for turn in range(5):
            path = tmp_path / f"{label}-{turn}.mp4"
            motions.encode(path, clip)
            files.append(path.read_bytes())
        assert len(set(files)) == 1
