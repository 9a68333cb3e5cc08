"""Images and videos in class folders."""

import os
import shutil

import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError


def test_imagenet_folders_are_found_by_their_identifiers(tmp_path, touch, targets):
    """Three of the thousand classes are there; they keep their numbers."""
    touch(*(tmp_path / "val" / name / "a.JPEG" for name in ("n01443537", "n15075141", "n01440764")))
    touch(tmp_path / "meta.bin")
    dataset = open_dataset(tmp_path, cards.dataset_card("imagenet1k"))
    assert targets(dataset) == {"n01440764/a.JPEG": 0, "n01443537/a.JPEG": 1, "n15075141/a.JPEG": 999}
    assert (dataset.split, dataset.format, dataset.folders) == ("val", "image_folder", (tmp_path / "val",))
    assert dataset.labels[1] == "goldfish, Carassius auratus"
    assert dataset.num_classes == 1000
    assert [sample.id for sample in dataset.samples] == sorted(sample.id for sample in dataset.samples)
    assert all(sample.path.is_file() for sample in dataset.samples)


def test_folders_are_matched_by_name_not_by_rank(tmp_path, card, touch, targets):
    some = card("image_folder", ["star", "disc", "big square"])
    touch(*(tmp_path / "val" / name for name in ("big_square/1.png", "disc/deeper/2.jpg", "star/3.webp", "star/x.txt")))
    touch(tmp_path / "val" / "star" / "._3.webp", tmp_path / "val" / ".hidden" / "4.png", tmp_path / "val" / "note.md")
    dataset = open_dataset(tmp_path, some)
    assert targets(dataset) == {"big_square/1.png": 2, "disc/deeper/2.jpg": 1, "star/3.webp": 0}
    assert dataset.labels == ("star", "disc", "big square")
    assert len(dataset) == 3


def test_names_that_two_classes_share_are_not_guessed(tmp_path, touch, targets):
    """ImageNet has a bird and a machine of one name; their wnids tell them apart."""
    imagenet = cards.dataset_card("imagenet1k")
    names, wnids = cards.labels("imagenet1k"), cards.read_classes(imagenet)[0]
    shared = [name for name in names if names.count(name) > 1]
    assert len(shared) >= 2
    touch(tmp_path / "val" / shared[0] / "1.png")
    with pytest.raises(DataError, match="the folder's name is no class"):
        open_dataset(tmp_path, imagenet)
    (tmp_path / "val" / shared[0]).rename(tmp_path / "val" / wnids[names.index(shared[0])])
    assert list(targets(open_dataset(tmp_path, imagenet)).values()) == [names.index(shared[0])]


def test_folders_without_names_on_the_card_count_in_order(tmp_path, card, touch, targets):
    touch(*(tmp_path / "train" / name / "1.png" for name in ("b", "c", "a")))
    dataset = open_dataset(tmp_path, card("image_folder"), "train")
    assert targets(dataset) == {"a/1.png": 0, "b/1.png": 1, "c/1.png": 2}
    assert dataset.labels == ("a", "b", "c")
    shutil.rmtree(tmp_path / "train" / "c")
    with pytest.raises(DataError, match="expected 3 class folders, got 2"):
        open_dataset(tmp_path, card("image_folder"), "train")


@pytest.mark.parametrize("val", ["val", "validation", "valid"])
def test_any_image_folder_has_as_many_classes_as_folders(tmp_path, touch, targets, val):
    """A class that the validation split lacks does not move the others up."""
    generic = cards.dataset_card("image_folder")
    assert generic.num_classes is None
    touch(*(tmp_path / "train" / name / "1.png" for name in ("cat", "dog", "eel", "fox")))
    touch(tmp_path / val / "fox" / "2.png", tmp_path / val / "dog" / "3.png")
    dataset = open_dataset(tmp_path, generic)
    assert targets(dataset) == {"dog/3.png": 1, "fox/2.png": 3}
    assert dataset.labels == ("cat", "dog", "eel", "fox")
    assert dataset.num_classes == 4
    training = open_dataset(tmp_path, generic, "train")
    assert (training.num_classes, training.labels) == (4, dataset.labels)


def test_any_image_folder_may_lie_in_the_root(tmp_path, touch, targets):
    touch(tmp_path / "dog" / "1.png", tmp_path / "cat" / "2.png")
    dataset = open_dataset(tmp_path, cards.dataset_card("image_folder"))
    assert targets(dataset) == {"cat/2.png": 0, "dog/1.png": 1}
    assert dataset.num_classes == 2


def test_a_card_may_leave_the_count_to_its_list_of_names(tmp_path, card, touch):
    touch(tmp_path / "val" / "b" / "1.png")
    dataset = open_dataset(tmp_path, card("image_folder", ["a", "b"], num_classes=None))
    assert dataset.num_classes == 2


def test_the_root_may_hold_the_class_folders_itself(tmp_path, card, touch, targets):
    some = card("image_folder", ["a", "b"])
    touch(tmp_path / "a" / "1.png", tmp_path / "b" / "2.png")
    assert targets(open_dataset(tmp_path, some)) == {"a/1.png": 0, "b/2.png": 1}
    touch(tmp_path / "train" / "a" / "1.png")
    with pytest.raises(DataError, match="Looked for image_folder: val/<class>/<image>"):
        open_dataset(tmp_path, some)


def test_links_are_followed_but_not_in_circles(tmp_path, card, touch, targets):
    touch(tmp_path / "store" / "deep" / "1.png", tmp_path / "val" / "b" / "2.png")
    (tmp_path / "val" / "a").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "deep" / "up").symlink_to(tmp_path / "store")
    dataset = open_dataset(tmp_path, card("image_folder", ["a", "b"]))
    assert targets(dataset) == {"a/deep/1.png": 0, "b/2.png": 1}


def test_wrong_folders_are_refused(tmp_path, card, touch):
    some = card("image_folder", ["a", "b"])
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


@pytest.mark.parametrize(
    ("lying", "message"),
    [
        (["ILSVRC2012_img_val.tar"], "holds ILSVRC2012_img_val.tar, still packed"),
        (["val/ILSVRC2012_val_00000001.JPEG"], "holds images without class folders, as ILSVRC2012_val_00000001.JPEG"),
        (["train/n01440764.tar", "val/x.txt"], "is not there. Looked for image_folder: val/<class>/<image>"),
    ],
)
def test_imagenet_as_downloaded_is_told_how_to_unpack(tmp_path, touch, lying, message):
    touch(*(tmp_path / name for name in lying))
    with pytest.raises(DataError, match=message) as failure:
        open_dataset(tmp_path, cards.dataset_card("imagenet1k"))
    told = "torchvision.datasets.ImageNet(ROOT, 'val')" in str(failure.value)
    assert told == (lying[0] != "train/n01440764.tar")


# Videos ---------------------------------------------------------------------------------------------------------------


def stripped(name: str) -> str:
    """A class name as torchvision's download of Kinetics makes a folder of it."""
    return "".join(character for character in name.replace(" ", "_") if character not in "'()")


@pytest.mark.parametrize("rename", [str, stripped, lambda name: name.replace(" ", "_")])
@pytest.mark.parametrize("below", ["val", ".", "videos/val", "validate"])
def test_kinetics_folders_are_matched_by_name(tmp_path, touch, targets, rename, below):
    names = cards.labels("kinetics400")
    touch(*(tmp_path / below / rename(name) / "x.mp4" for name in names))
    dataset = open_dataset(tmp_path, cards.dataset_card("kinetics400"))
    assert dataset.format == "class_folders"
    found = targets(dataset)
    assert found == {f"{rename(name)}/x.mp4": index for index, name in enumerate(names)}
    assert found[f"{rename('skiing (not slalom or crosscountry)')}/x.mp4"] == 308
    assert found[f"{rename('skiing crosscountry')}/x.mp4"] == 309
    if rename is stripped:  # the trap: sorted, the two change places
        assert sorted(os.listdir(tmp_path / below))[308] == stripped("skiing crosscountry")


def test_video_folders_are_never_numbered_by_rank(tmp_path, card, touch):
    touch(tmp_path / "val" / "a" / "1.mp4")
    with pytest.raises(DataError, match="names no classes"):
        open_dataset(tmp_path, card("class_folders", num_classes=1))
    with pytest.raises(DataError, match="Looked for class_folders: <class>/<video> in one of train/, videos/train/"):
        open_dataset(tmp_path, card("class_folders", ["a"]), "train")


@pytest.mark.parametrize("first", [0, 1])
def test_folders_called_by_numbers_count_as_numbers(tmp_path, card, touch, targets, first):
    touch(*(tmp_path / "val" / str(number) / "a.png" for number in range(first, first + 12)))
    dataset = open_dataset(tmp_path, card("image_folder", num_classes=None))
    assert targets(dataset) == {f"{number}/a.png": number - first for number in range(first, first + 12)}
    assert dataset.labels == tuple(str(number) for number in range(first, first + 12))


def test_numbers_of_which_the_order_is_unknown_are_refused(tmp_path, card, touch):
    touch(*(tmp_path / "val" / name / "a.png" for name in ("7", "70", "8")))
    with pytest.raises(DataError, match="called by numbers, 7, 70 and so on"):
        open_dataset(tmp_path, card("image_folder", num_classes=None))
    touch(*(tmp_path / "padded" / "val" / name / "a.png" for name in ("007", "070", "008")))
    assert open_dataset(tmp_path / "padded", card("image_folder", num_classes=None)).labels == ("007", "008", "070")


def test_a_class_may_be_called_as_a_split(tmp_path, card, touch, targets):
    touch(*(tmp_path / name / "a.png" for name in ("bus", "train", "tram")))
    dataset = open_dataset(tmp_path, card("image_folder", num_classes=None))
    assert targets(dataset) == {"bus/a.png": 0, "train/a.png": 1, "tram/a.png": 2}


def test_stray_folders_take_no_class_number(tmp_path, card, touch, targets):
    touch(tmp_path / "val" / "__MACOSX" / "x" / "a.png", tmp_path / "val" / "empty" / "notes.md")
    touch(*(tmp_path / "val" / name / "a.png" for name in ("Zebra", "ant", "zoo")))
    for labels, expected in ((None, (0, 1, 2)), (["Zebra", "ant", "zoo"], (0, 1, 2))):
        some = card("image_folder", labels, num_classes=None)
        assert tuple(targets(open_dataset(tmp_path, some)).values()) == expected


@pytest.mark.parametrize("ending", ["flv", "wmv", "mpg", "ts", "3gp", "MTS", "ogv"])
def test_videos_of_all_endings_in_folders_of_any_classes(tmp_path, touch, targets, ending):
    touch(tmp_path / "val" / "jump" / f"a.{ending}", tmp_path / "train" / "hop" / "b.mp4")
    dataset = open_dataset(tmp_path, cards.dataset_card("video_folder"))
    assert targets(dataset) == {f"jump/a.{ending}": 1}
    assert dataset.labels == ("hop", "jump")


@pytest.mark.parametrize("ending", ["wav", "aac", "aif", "wma", "caf", "amr"])
def test_sounds_in_class_folders_have_one_class_each(tmp_path, touch, targets, ending):
    """As ESC-50 and Speech Commands are laid out."""
    touch(tmp_path / "audio" / "val" / "dog" / f"1.{ending}", tmp_path / "audio" / "val" / "cat" / "2.wav")
    dataset = open_dataset(tmp_path, cards.dataset_card("sound_folder"))
    assert targets(dataset) == {f"dog/1.{ending}": 1, "cat/2.wav": 0}
    assert (dataset.format, dataset.card.multi_label) == ("class_folders", False)


def test_names_that_are_no_utf8_have_ids_that_can_be_written(tmp_path, card, touch):
    name = os.fsdecode(b"caf\xe9")
    touch(tmp_path / "val" / name / f"{name}.png")
    dataset = open_dataset(tmp_path, card("image_folder", num_classes=None))
    (sample,) = dataset.samples
    assert sample.id == "caf\\xe9/caf\\xe9.png"
    assert dataset.labels == ("caf\\xe9",)
    assert sample.path.is_file()
    assert str(DataError(f"{sample.path}: bad")).encode().endswith(b"caf\\xe9.png: bad")
