"""UCF101, HMDB51 and Speech Commands by the split files that come with them."""

import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError

UCF = ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "Archery/v_Archery_g01_c01.avi"]


@pytest.fixture
def ucf(tmp_path, touch):
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 Archery\r\n3 HandstandPushups\r\n")
    (lists / "testlist01.txt").write_text("\r\n".join(UCF) + "\r\n")
    (lists / "trainlist01.txt").write_text("Archery/v_Archery_g08_c01.avi 2\nApplyEyeMakeup/v_A_g08_c01.avi 1\n")
    (lists / "testlist02.txt").write_text("Archery/v_Archery_g08_c01.avi\n")
    return tmp_path


@pytest.mark.parametrize("folder", ["UCF-101", "."])
def test_ucf101(ucf, touch, targets, folder):
    touch(*(ucf / folder / name for name in UCF))
    card = cards.dataset_card("ucf101")
    dataset = open_dataset(ucf, card)
    assert targets(dataset) == {UCF[0]: 2, UCF[1]: 1}
    assert dataset.labels == ("ApplyEyeMakeup", "Archery", "HandstandPushups")
    assert all(sample.path.is_file() for sample in dataset.samples)
    train = open_dataset(ucf, card, "train")
    assert targets(train) == {"Archery/v_Archery_g08_c01.avi": 1, "ApplyEyeMakeup/v_A_g08_c01.avi": 0}
    assert list(targets(open_dataset(ucf, card, "val2"))) == ["Archery/v_Archery_g08_c01.avi"]


@pytest.mark.parametrize("folder", ["hmdb51_org", "."])
def test_hmdb51(tmp_path, touch, targets, folder):
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    (lists / "wave_test_split1.txt").write_text("a b [1]#2.avi 2 \nc.avi 1 \nd.avi 0 \n")
    (lists / "brush_hair_test_split1.txt").write_text("e.avi 1 \nf.avi 2 \n")
    (lists / "wave_test_split2.txt").write_text("d.avi 2 \n")
    touch(tmp_path / folder / "wave" / "a b [1]#2.avi", tmp_path / folder / "brush_hair" / "f.avi")
    card = cards.dataset_card("hmdb51")
    dataset = open_dataset(tmp_path, card)
    assert targets(dataset) == {"brush_hair/f.avi": 0, "wave/a b [1]#2.avi": 1}
    assert dataset.labels == ("brush_hair", "wave")
    assert all(sample.path.is_file() for sample in dataset.samples)
    assert targets(open_dataset(tmp_path, card, "train")) == {"brush_hair/e.avi": 0, "wave/c.avi": 1}
    assert targets(open_dataset(tmp_path, card, "val2")) == {"wave/d.avi": 0}
    (lists / "wave_test_split1.txt").write_text("a.avi 3\n")
    with pytest.raises(DataError, match=r"wave_test_split1\.txt, line 1: expected `file\.avi` and 0, 1 or 2"):
        open_dataset(tmp_path, card)


@pytest.mark.parametrize(("split", "listed"), [("val", "validation_list.txt"), ("test", "testing_list.txt")])
def test_speech_commands(tmp_path, touch, targets, split, listed):
    touch(*(tmp_path / name / "0_nohash_0.wav" for name in ("yes", "no", "up", "_background_noise_")))
    (tmp_path / listed).write_text("yes/0_nohash_0.wav\nno/0_nohash_0.wav\n")
    dataset = open_dataset(tmp_path, cards.dataset_card("sound_folder"), split)
    assert targets(dataset) == {"yes/0_nohash_0.wav": 2, "no/0_nohash_0.wav": 0}
    assert dataset.labels == ("no", "up", "yes")


def test_what_is_there_is_named_where_nothing_fits(tmp_path):
    for name, words in (("ucf101", "testlist01.txt"), ("hmdb51", "testTrainMulti_7030_splits/<class>_test_split1.txt")):
        with pytest.raises(DataError, match=words):
            open_dataset(tmp_path, cards.dataset_card(name))


def test_numbers_that_are_not_those_of_the_folders_are_refused(tmp_path):
    (tmp_path / "val.txt").write_text("clips/a.mp4 0\nclips/b.mp4 1\n")
    with pytest.raises(DataError, match=r"folders are no classes; .* video_list"):
        open_dataset(tmp_path, cards.dataset_card("video_folder"))


def test_classes_of_a_card_are_found_by_name(ucf, card):
    some = card("path_list", ["Archery", "handstand_pushups"], splits={"val": "testlist01"})
    assert [sample.target for sample in open_dataset(ucf, some).samples] == [1, 0]
    (ucf / "ucfTrainTestlist" / "testlist01.txt").write_text("Bowling/v.avi\n")
    with pytest.raises(DataError, match="line 1: 'Bowling' is no class"):
        open_dataset(ucf, some)
