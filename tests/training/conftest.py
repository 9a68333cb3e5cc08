"""Small data of each modality with a training split, and quick settings."""

import shutil

import pytest

from tome_zoo import cards, demo
from tome_zoo.data.dataset import open_dataset

COUNTS = {"shapes": 20, "motions": 8, "sounds": 8}
SHAPE = {"embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="session")
def demo_roots(tmp_path_factory):
    """Name of a demo data set -> its folder, with a few samples in both splits."""
    roots = {}
    for name, count in COUNTS.items():
        roots[name] = tmp_path_factory.mktemp(name)
        for split in ("train", "val"):
            demo.write_data(name, roots[name], split=split, count=count)
    return roots


@pytest.fixture
def shapes(demo_roots):
    return open_dataset(demo_roots["shapes"], cards.dataset_card("shapes"), "train")


@pytest.fixture
def broken_shapes(demo_roots, tmp_path):
    """The shapes with one file that is no image."""
    root = tmp_path / "shapes"
    shutil.copytree(demo_roots["shapes"], root)
    (root / "train" / "star" / "00008.png").write_bytes(b"no image")
    return open_dataset(root, cards.dataset_card("shapes"), "train")


@pytest.fixture
def quick():
    """Settings of a run of two steps an epoch."""
    return {"batch_size": 10, "accum": 1, "workers": 0, "log_steps": 1, "evaluations": 1, "architecture": SHAPE}
