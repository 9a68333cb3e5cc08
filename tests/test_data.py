"""Data sets as they lie on disk, and the decoding of their samples."""

import json
import pickle
import shutil
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from tome_zoo import cards
from tome_zoo.architecture import Architecture
from tome_zoo.cards import DatasetCard
from tome_zoo.data import Dataset, Sample, SampleViews, open_dataset
from tome_zoo.errors import CardError, DataError
from tome_zoo.modalities.inputs import AudioInput, ImageInput

ONE_VIEW = SimpleNamespace(temporal_views=1, spatial_views=1)


def card(layout: str, labels: list[str] | Path | None = None, folder: Path | None = None, **fields) -> DatasetCard:
    """A data set card, with its list of labels written to `folder`."""
    modality = {"image_folder": "image", "video_list": "video", "audioset_json": "audio"}[layout]
    ending = {"image_folder": "", "video_list": ".csv", "audioset_json": ".json"}[layout]
    if isinstance(labels, list) and folder is not None:
        fields = {"num_classes": len(labels)} | fields
        (folder / "labels.json").write_text(json.dumps(labels))
        labels = folder / "labels.json"
    fields = {"num_classes": 3, "multi_label": modality == "audio"} | fields
    return DatasetCard(
        name=f"some_{modality}s", modality=modality, title="Some", layout=layout, labels=labels, license="none",
        splits={"train": f"train{ending}", "val": f"val{ending}"}, origin="here", obtain="make it", **fields,
    )  # fmt: skip


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def targets(dataset: Dataset) -> dict:
    return {sample.id: sample.target for sample in dataset.samples}


# Class folders of images ----------------------------------------------------------------------------------------------


def test_imagenet_folders_are_found_by_their_identifiers(tmp_path):
    imagenet = cards.dataset_card("imagenet1k")
    touch(*(tmp_path / "val" / name / "a.JPEG" for name in ("n01443537", "n15075141", "n01440764")))
    dataset = open_dataset(tmp_path, imagenet)
    assert targets(dataset) == {"n01440764/a.JPEG": 0, "n01443537/a.JPEG": 1, "n15075141/a.JPEG": 999}
    assert dataset.split == "val"
    assert dataset.labels[1] == "goldfish, Carassius auratus"
    assert [sample.id for sample in dataset.samples] == sorted(sample.id for sample in dataset.samples)
    assert all(sample.path.is_file() for sample in dataset.samples)


def test_image_folders_are_matched_by_name_not_by_rank(tmp_path):
    some = card("image_folder", ["star", "disc", "big square"], tmp_path)
    touch(*(tmp_path / "val" / name for name in ("big_square/1.png", "disc/deeper/2.jpg", "star/3.webp", "star/x.txt")))
    touch(tmp_path / "val" / "star" / "._3.webp", tmp_path / "val" / ".hidden" / "4.png", tmp_path / "val" / "note.md")
    dataset = open_dataset(tmp_path, some)
    assert targets(dataset) == {"big_square/1.png": 2, "disc/deeper/2.jpg": 1, "star/3.webp": 0}
    assert dataset.labels == ("star", "disc", "big square")
    assert len(dataset) == 3


def test_folders_without_names_on_the_card_count_in_order(tmp_path):
    touch(*(tmp_path / "train" / name / "1.png" for name in ("b", "c", "a")))
    dataset = open_dataset(tmp_path, card("image_folder"), "train")
    assert targets(dataset) == {"a/1.png": 0, "b/1.png": 1, "c/1.png": 2}
    assert dataset.labels == ("a", "b", "c")
    shutil.rmtree(tmp_path / "train" / "c")
    with pytest.raises(DataError, match="expected 3 class folders, got 2"):
        open_dataset(tmp_path, card("image_folder"), "train")


def test_the_root_may_hold_the_class_folders_itself(tmp_path):
    some = card("image_folder", ["a", "b"], tmp_path)
    touch(tmp_path / "root" / "a" / "1.png", tmp_path / "root" / "b" / "2.png")
    assert targets(open_dataset(tmp_path / "root", some)) == {"a/1.png": 0, "b/2.png": 1}
    touch(tmp_path / "root" / "train" / "a" / "1.png")
    with pytest.raises(DataError, match="expected val/<class>/<image>"):
        open_dataset(tmp_path / "root", some)


def test_wrong_folders_are_refused(tmp_path):
    some = card("image_folder", ["a", "b"], tmp_path)
    (tmp_path / "val" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="no files in its class folders"):
        open_dataset(tmp_path, some)
    touch(tmp_path / "val" / "A_" / "1.png")
    with pytest.raises(DataError, match="folders 'A_' and 'a' are the same class"):
        open_dataset(tmp_path, some)
    shutil.rmtree(tmp_path / "val" / "A_")
    touch(tmp_path / "val" / "c" / "1.png")
    with pytest.raises(DataError, match="c: the folder's name is no class of data set some_images"):
        open_dataset(tmp_path, some)
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "none", some)
    with pytest.raises(DataError, match=r"no split 'vall', expected one of train, val; did you mean 'val'\?"):
        open_dataset(tmp_path, some, "vall")


# Lists of videos ------------------------------------------------------------------------------------------------------


def test_video_lists(tmp_path):
    lines = ["a.mp4 0", "deep/b c.mp4 2", "", "x,y.mp4,1", '"q, r.mp4", 1', "./e.mp4\t0", f"{tmp_path}/f.mp4 1",
             "/elsewhere/g.mp4 2"]  # fmt: skip
    (tmp_path / "val.csv").write_text("\ufeff" + "\r\n".join(lines) + "\n", encoding="utf-8")
    dataset = open_dataset(tmp_path, card("video_list"))
    assert targets(dataset) == {
        "a.mp4": 0, "deep/b c.mp4": 2, "x,y.mp4": 1, "q, r.mp4": 1, "e.mp4": 0, "f.mp4": 1, "/elsewhere/g.mp4": 2,
    }  # fmt: skip
    assert dataset.samples[1].path == tmp_path / "deep" / "b c.mp4"
    assert dataset.labels == ()
    assert targets(open_dataset(tmp_path / "val.csv", card("video_list"))) == targets(dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the list is empty"),
        ("\n \n", "the list is empty"),
        ("a.mp4 0\nb.mp4\n", "line 2: expected `path label`, got 'b.mp4'"),
        ("a.mp4 0\nb.mp4 3\n", "line 2: expected a label of 0 to 2 at the end, got '3'"),
        ("a.mp4 -1", "line 1: expected a label of 0 to 2 at the end, got '-1'"),
        ("my video.mp4", "line 1: expected a label of 0 to 2 at the end, got 'video.mp4'"),
        ("a.mp4 1.0", "got '1.0'"),
        ("a.mp4 99999999999999999999", "got '99999999999999999999'"),
        ("path label\na.mp4 1", "line 1: .* got 'label'"),
        ("a.mp4 0\nb.mp4 0\n./a.mp4 0", "line 3: './a.mp4' was listed before, at line 1"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_malformed_video_lists_are_refused(tmp_path, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "val.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"val\.csv.*{message}"):
        open_dataset(tmp_path, card("video_list"))


def stripped(name: str) -> str:
    """A class name as torchvision's download of Kinetics makes a folder of it."""
    return "".join(character for character in name.replace(" ", "_") if character not in "'()")


@pytest.mark.parametrize("rename", [str, stripped, lambda name: name.replace(" ", "_")])
@pytest.mark.parametrize("below", ["val", "."])
def test_kinetics_folders_are_matched_by_name(tmp_path, rename, below):
    kinetics = cards.dataset_card("kinetics400")
    names = cards.labels("kinetics400")
    touch(*(tmp_path / below / rename(name) / "x.mp4" for name in names))
    found = targets(open_dataset(tmp_path, kinetics))
    assert found == {f"{rename(name)}/x.mp4": index for index, name in enumerate(names)}
    assert found[f"{rename('skiing (not slalom or crosscountry)')}/x.mp4"] == 308
    assert found[f"{rename('skiing crosscountry')}/x.mp4"] == 309


def test_video_folders_are_never_numbered_by_rank(tmp_path):
    touch(tmp_path / "val" / "a" / "1.mp4")
    with pytest.raises(DataError, match="names no classes"):
        open_dataset(tmp_path, card("video_list", num_classes=1))
    with pytest.raises(DataError, match="no such list; expected `path label` lines there, or train/<class>/<video>"):
        open_dataset(tmp_path, card("video_list"), "train")


# AudioSet's manifests -------------------------------------------------------------------------------------------------


def manifest(folder: Path, *entries: object) -> None:
    (folder / "val.json").write_text(json.dumps({"data": list(entries)}))


def test_audioset_manifests(tmp_path):
    audioset = cards.dataset_card("audioset")
    entries = [
        {"wav": "a b.wav", "labels": "/m/05zppz,/m/09x0r", "video_id": "x"},
        {"wav": "/elsewhere/c.flac", "labels": "/m/09x0r"},
        {"wav": "deep/./d.wav", "labels": ""},
    ]
    (tmp_path / "eval.json").write_text(json.dumps({"data": entries, "more": 1}))
    dataset = open_dataset(tmp_path, audioset)
    assert targets(dataset) == {"a b.wav": (0, 1), "/elsewhere/c.flac": (0,), "deep/d.wav": ()}
    assert dataset.samples[0].path == tmp_path / "a b.wav"
    assert dataset.labels[:2] == ("Speech", "Male speech, man speaking")
    assert targets(open_dataset(tmp_path / "eval.json", audioset)) == targets(dataset)


def test_sounds_of_one_class_each(tmp_path):
    some = card("audioset_json", ["bell", "dog bark"], tmp_path, multi_label=False)
    manifest(tmp_path, {"wav": "a.wav", "labels": "dog_bark"})
    assert targets(open_dataset(tmp_path, some)) == {"a.wav": 1}
    manifest(tmp_path, {"wav": "a.wav", "labels": "bell,dog bark"})
    with pytest.raises(DataError, match=r"data\[0\].labels: expected one label, got 2"):
        open_dataset(tmp_path, some)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"val\.json, line 1: no valid JSON"),
        ('# a comment\n{"data": []}', "line 1: no valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "got list without a list"),
        ('{"data": 3}', "got dict without a list"),
        ('{"data": []}', "the list is empty"),
        ('{"data": [3]}', r"data\[0\]: expected .* got 3"),
        (
            '{"data": [{"wav": "a.wav", "labels": "bell"}, {"labels": "bell"}]}',
            r"data\[1\]\.wav: expected a string, got N",
        ),
        ('{"data": [{"wav": " ", "labels": "bell"}]}', r"data\[0\]\.wav: expected a string, got ' '"),
        ('{"data": [{"wav": "a.wav", "labels": ["bell"]}]}', r"data\[0\]\.labels: expected a string"),
        ('{"data": [{"wav": "a.wav", "labels": "bell,cat"}]}', r"data\[0\]\.labels: 'cat' is no class of data set"),
        ('{"data": [{"wav": "a.wav", "labels": ""}, {"wav": "./a.wav", "labels": ""}]}', r"data\[1\]: .* at data\[0\]"),
    ],
)
def test_malformed_manifests_are_refused(tmp_path, content, message):
    some = card("audioset_json", ["bell", "dog bark"], tmp_path)
    (tmp_path / "val.json").write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path, some)


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"train\.json: no such manifest"):
        open_dataset(tmp_path, card("audioset_json", ["bell"], tmp_path), "train")


def test_names_that_only_punctuation_tells_apart_need_their_exact_spelling(tmp_path):
    some = card("audioset_json", ["c", "c++"], tmp_path)
    manifest(tmp_path, {"wav": "a.wav", "labels": "c++"}, {"wav": "b.wav", "labels": "c"})
    assert targets(open_dataset(tmp_path, some)) == {"a.wav": (1,), "b.wav": (0,)}
    manifest(tmp_path, {"wav": "a.wav", "labels": "C"})
    with pytest.raises(DataError, match="'C' is no class"):
        open_dataset(tmp_path, some)


# Decoding -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path) -> Dataset:
    """Six images, of which the second is missing, the third is text and the fifth truncated."""
    some = card("image_folder", ["a", "b"], tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "val" / "a").mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / "a" / f"{number}.png")
    dataset = open_dataset(tmp_path, some)
    dataset.samples[1].path.unlink()
    dataset.samples[2].path.write_text("no image")
    dataset.samples[4].path.write_bytes(dataset.samples[4].path.read_bytes()[:1000])
    return dataset


@pytest.fixture
def spec() -> SimpleNamespace:
    architecture = Architecture(embed_dim=8, depth=1, num_heads=1, num_classes=2, patch_size=4, img_size=32)
    return SimpleNamespace(architecture=architecture, input=ImageInput(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_do_not_stop_the_others(pictures, spec, workers):
    views = SampleViews(pictures, spec, ONE_VIEW)
    assert len(views) == 6
    loader = DataLoader(Subset(views, [5, 4, 3, 2, 1, 0]), batch_size=None, num_workers=workers)
    found = list(loader)
    assert [index for index, _, _ in found] == [5, 4, 3, 2, 1, 0]
    for index, tensor, error in found:
        if index in (1, 2, 4):
            assert tensor is None
            assert f"{index}.png" in error
        else:
            assert tensor.shape == (1, 3, 32, 32)
            assert error is None


def test_views_can_be_pickled(pictures, spec):
    copy = pickle.loads(pickle.dumps(SampleViews(pictures, spec, ONE_VIEW)))
    assert torch.equal(copy[0][1], SampleViews(pictures, spec, ONE_VIEW)[0][1])


def test_a_surprised_decoder_counts_as_a_bad_file(pictures, spec, monkeypatch):
    monkeypatch.setattr("tome_zoo.modalities.image.views", lambda *_: 1 / 0)
    index, views, error = SampleViews(pictures, spec, ONE_VIEW)[0]
    assert (index, views) == (0, None)
    assert error.endswith("0.png: cannot be decoded (ZeroDivisionError: division by zero)")


def test_what_no_other_file_would_mend_is_raised(pictures, spec):
    with pytest.raises(CardError, match="spatial_views must be 1"):
        SampleViews(pictures, spec, SimpleNamespace(temporal_views=1, spatial_views=3))[0]
    spec.input = AudioInput(mean=0.0, std=1.0)
    with pytest.raises(CardError, match="ImageInput"):
        SampleViews(pictures, spec, ONE_VIEW)[0]


def test_sounds_are_decoded_by_their_modality(tmp_path):
    some = card("audioset_json", ["bell"], tmp_path)
    manifest(tmp_path, {"wav": "a.wav", "labels": "bell"}, {"wav": "b.wav", "labels": ""})
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.random.default_rng(0).integers(-9999, 9999, 16000, dtype=np.int16).tobytes())
    architecture = Architecture(
        embed_dim=8, depth=1, num_heads=1, num_classes=1, patch_size=16, img_size=(96, 32), in_chans=1
    )
    spec = SimpleNamespace(architecture=architecture, input=AudioInput(mean=-4.0, std=4.0))
    views = SampleViews(open_dataset(tmp_path, some), spec, ONE_VIEW)
    assert views[0][1].shape == (1, 1, 96, 32)
    assert views[1][1] is None
    assert "no such file" in views[1][2]


def test_samples_are_frozen_and_comparable():
    assert Sample("a", Path("a"), 1) == Sample("a", Path("a"), 1)
    with pytest.raises(AttributeError):
        Sample("a", Path("a"), 1).target = 2
