"""Accuracy by ReaL labels against the evaluator that timm has."""

import numpy as np
import pytest
import torch
from timm.data.real_labels import RealLabelsImagenet

from tome_zoo.data.formats.split import Sample
from tome_zoo.evaluation.real_labels import real_accuracy

N = 50_000


def test_it_is_timms_on_the_whole_split(tmp_path):
    """Images without a label count for neither."""
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, N + 1)]
    best = np.random.default_rng(0).integers(0, 1000, N)
    theirs = RealLabelsImagenet(names, topk=(1,))
    for row, name in enumerate(names):
        if row % 2 and theirs.real_labels[name]:
            best[row] = theirs.real_labels[name][0]
    scores = np.zeros((N, 1000), dtype=np.float32)
    scores[np.arange(N), best] = 1
    theirs.add_result(torch.from_numpy(scores))
    samples = [Sample(f"n01440764/{name}", tmp_path / name, 0) for name in names]
    accuracy, counted = real_accuracy(scores, samples)
    assert accuracy == pytest.approx(theirs.get_accuracy(1))
    assert counted == sum(bool(labels) for labels in theirs.real_labels.values())


def test_other_images_have_none(tmp_path):
    assert real_accuracy([[1.0, 0.0]], [Sample("cat/1.jpg", tmp_path, 0)]) is None
