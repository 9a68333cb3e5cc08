import json
import wave

import numpy as np
import pytest

from tome_zoo.demo import sounds


@pytest.mark.parametrize("label", range(len(sounds.LABELS)))
def test_an_event_depends_on_its_seed_alone_and_stays_in_range(label):
    first, again = (sounds.render(np.random.default_rng(label), [label]) for _ in range(2))
    assert first.shape == (41600,)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert np.isfinite(first).all()
    assert 0.1 < np.abs(first).max() <= 0.9


def test_samples_have_one_to_three_different_classes_and_all_occur():
    targets = [labels for _, labels in sounds.samples(count=60, seed=1)]
    assert {len(labels) for labels in targets} == {1, 2, 3}
    assert all(list(labels) == sorted(set(labels)) for labels in targets)
    assert {label for labels in targets for label in labels} == set(range(len(sounds.LABELS)))


def test_a_chirp_goes_the_way_it_is_called():
    for label, sign in ((0, 1), (1, -1)):
        event = sounds._MAKERS[label](np.random.default_rng(0), np.arange(16000) / sounds.RATE)
        crossings = [np.count_nonzero(np.diff(np.sign(part))) for part in (event[:4000], event[-4000:])]
        assert sign * (crossings[1] - crossings[0]) > 0


def test_the_manifest_and_the_sounds_are_what_was_mixed(tmp_path):
    paths = list(sounds.write(tmp_path, split="val", count=4, seed=2))
    entries = json.loads((tmp_path / "val.json").read_text())["data"]
    assert [tmp_path / entry["wav"] for entry in entries] == paths
    for path, entry, (waveform, labels) in zip(paths, entries, sounds.samples(count=4, seed=2), strict=True):
        assert entry["labels"].split(",") == [tuple(sounds.IDS)[label] for label in labels]
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
            found = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        assert np.abs(found - waveform).max() < 1e-4
