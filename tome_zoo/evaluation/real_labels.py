"""ImageNet ReaL, from timm: all labels that hold for a validation image (Beyer et al. 2020, arXiv 2006.07159)."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from tome_zoo.data.formats.split import Sample

VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG$")
N_IMAGES = 50_000


def real_accuracy(scores: ArrayLike, samples: Sequence[Sample]) -> tuple[float, int] | None:
    """Share of images whose best class is one of their ReaL labels, in per cent, and of how many images.

    Images without such a label do not count.

    Args:
        scores: `[samples, 1000]`, classes in the order of the sorted WordNet ids.
        samples: Whose scores these are.

    Returns:
        None unless all samples are called as the images of ImageNet's validation split, or if none of them counts.
    """
    names = [found.group() for sample in samples if (found := VALIDATION_IMAGE.search(sample.id))]
    if len(names) != len(samples):
        return None
    labels = _labels()
    best = np.asarray(scores).argmax(axis=1)
    hits = [guess in labels[name] for guess, name in zip(best.tolist(), names, strict=True) if labels.get(name)]
    return (100.0 * float(np.mean(hits)), len(hits)) if hits else None


@cache
def _labels() -> dict[str, list[int]]:
    from timm.data.real_labels import RealLabelsImagenet

    return RealLabelsImagenet(range(N_IMAGES)).real_labels
