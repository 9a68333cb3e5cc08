"""Tables of files and classes, with names or numbers, and stretches of long files."""

import numpy as np
import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError


def write(path, *lines, separator=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize(("name", "separator"), [("val.csv", ","), ("val.tsv", "\t"), ("validation.csv", ",")])
@pytest.mark.parametrize("header", [("path", "label"), ("fname", "category"), ("File_Name", "Class")])
def test_names_count_in_sorted_order(tmp_path, targets, name, separator, header):
    write(tmp_path / name, header, ("clips/b.wav", "dog"), ("clips/a b.wav", "cat"), separator=separator)
    dataset = open_dataset(tmp_path, cards.dataset_card("sound_folder"))
    assert targets(dataset) == {"clips/b.wav": 1, "clips/a b.wav": 0}
    assert (dataset.labels, dataset.format, dataset.num_classes) == (("cat", "dog"), "csv_list", 2)


@pytest.mark.parametrize("name", ["image_folder", "video_folder", "sound_folder"])
def test_classes_of_the_training_table_count_as_well(tmp_path, targets, name):
    write(tmp_path / "train.csv", ("path", "label"), ("1.x", "ant"), ("2.x", "dog"))
    write(tmp_path / "val.csv", ("label", "path"), ("dog", "3.x"))
    dataset = open_dataset(tmp_path, cards.dataset_card(name))
    assert targets(dataset) == {"3.x": 1}
    assert dataset.labels == ("ant", "dog")


def test_numbers_are_numbers(tmp_path, targets):
    write(tmp_path / "val.csv", ("path", "label"), ("1.png", "10"), ("2.png", "2"))
    dataset = open_dataset(tmp_path, cards.dataset_card("image_folder"))
    assert targets(dataset) == {"1.png": 10, "2.png": 2}
    assert dataset.num_classes == 11


def test_the_table_of_esc_50(tmp_path, targets, touch):
    """filename,fold,target,category,... in meta/, sounds in audio/ beside it; the numbers give the order of names."""
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    rows = [("1-1-A-1.wav", "1", "1", "ant", "True", "1", "A"), ("1-2-A-0.wav", "1", "0", "dog", "True", "2", "A")]
    write(tmp_path / "meta" / "esc50.csv", header, *rows)
    touch(*(tmp_path / "audio" / row[0] for row in rows))
    dataset = open_dataset(tmp_path / "meta" / "esc50.csv", cards.dataset_card("sound_folder"))
    assert dataset.labels == ("dog", "ant")
    assert targets(dataset) == {"1-1-A-1.wav": 1, "1-2-A-0.wav": 0}
    assert all(sample.path.is_file() for sample in dataset.samples)


def test_a_column_may_tell_the_split(tmp_path, targets):
    write(tmp_path / "all.csv", ("file", "label", "split"), ("1.wav", "b", "val"), ("2.wav", "a", "train"))
    dataset = open_dataset(tmp_path / "all.csv", cards.dataset_card("sound_folder"))
    assert list(targets(dataset)) == ["1.wav"]


def test_classes_of_a_card_are_found_by_name_or_number(tmp_path, card, targets):
    write(tmp_path / "val.csv", ("path", "label"), ("1.mp4", "Sky Diving"), ("2.mp4", "0"))
    some = card(["video_list", "csv_list"], ["a", "sky_diving"])
    assert targets(open_dataset(tmp_path, some)) == {"1.mp4": 1, "2.mp4": 0}
    write(tmp_path / "val.csv", ("path", "label"), ("1.mp4", "2"))
    with pytest.raises(DataError, match=r"val\.csv, line 2: '2' is no class"):
        open_dataset(tmp_path, some)


def test_several_classes_a_sample(tmp_path, card, targets):
    write(tmp_path / "val.csv", ("path", "label"), ("1.wav", '"a,c"'), ("2.wav", "b;a"))
    some = card("audioset_json", ["a", "b", "c"])
    assert targets(open_dataset(tmp_path, some, data_format="csv_list")) == {"1.wav": (0, 2), "2.wav": (0, 1)}


@pytest.mark.parametrize("header", [("start", "end"), ("start_seconds", "end_seconds"), ("onset", "offset")])
def test_stretches_of_long_files(tmp_path, targets, header):
    write(
        tmp_path / "val.csv", ("path", *header, "label"), ("a.wav", "0", "2.5", "x"), ("a.wav", "2.5", "5", "y"),
        ("b.wav", "1", "", "x"), ("c.wav", "", "", "y"),
    )  # fmt: skip
    dataset = open_dataset(tmp_path, cards.dataset_card("sound_folder"))
    assert targets(dataset) == {"a.wav#0-2.5": 0, "a.wav#2.5-5": 1, "b.wav#1-inf": 0, "c.wav": 1}
    assert [sample.span for sample in dataset.samples] == [(0, 2.5), (2.5, 5), (1, np.inf), None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.wav", "5", "5", "x"), "expected start and end in seconds, the end later"),
        (("a.wav", "-1", "5", "x"), "expected start and end"),
        (("a.wav", "soon", "5", "x"), "expected start and end"),
        (("a.wav", "nan", "5", "x"), "expected start and end"),
        (("a.wav", "1", "2", ""), "expected a file and its class"),
        (("", "1", "2", "x"), "expected a file and its class"),
        (("a.wav", "1", "2"), "expected 4 columns, got 3"),
        (("b.wav", "0", "9", "x"), "was listed before, at line 2"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, row, message):
    write(tmp_path / "val.csv", ("path", "start", "end", "label"), ("b.wav", "0", "9", "x"), row)
    with pytest.raises(DataError, match=rf"val\.csv, line 3.*{message}"):
        open_dataset(tmp_path, cards.dataset_card("sound_folder"))


def test_a_csv_without_such_a_header_is_no_table(tmp_path):
    write(tmp_path / "val.csv", ("a.wav", "dog"))
    with pytest.raises(DataError, match=r"csv_list: .* with a header that has the columns path and label"):
        open_dataset(tmp_path, cards.dataset_card("sound_folder"))
