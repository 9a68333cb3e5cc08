"""A file of each modality, and its drawing by the embedded model."""

import pytest

import tome_zoo
from tome_zoo.demo import write_data

MODELS = {"image": "demo_image.shapes", "video": "demo_video.motions", "audio": "demo_audio.sounds"}


@pytest.fixture(scope="session")
def own_files(tmp_path_factory):
    """Modality -> a file of it."""
    root = tmp_path_factory.mktemp("own")
    files = {}
    for modality, model in MODELS.items():
        dataset = model.split(".")[1]
        folder = write_data(dataset, root / dataset, split="val", count=1)
        (files[modality],) = (path for path in folder.rglob("*") if path.suffix in (".png", ".mp4", ".wav"))
    return files


@pytest.fixture(scope="session")
def models():
    """Modality -> the embedded model."""
    return {modality: tome_zoo.create_model(name, pretrained=True) for modality, name in MODELS.items()}


@pytest.fixture(scope="session")
def drawings(own_files, models):
    """Modality -> drawing at two schedules."""
    return {modality: tome_zoo.draw(models[modality], own_files[modality], r=[0, 30]) for modality in MODELS}
