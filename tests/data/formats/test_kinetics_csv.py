"""Kinetics as it is handed out: annotations with a header, and flat folders of clips."""

import csv

import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError

HEADER = ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
ROWS = [
    ["abseiling", "-0abcdefghi", "13", "23", "val", "0"],
    ["skiing (not slalom or crosscountry)", "ski_1_ab-cd", "0", "10", "val", "0"],
    ["skiing crosscountry", "skier_00001", "100", "110", "val", "1"],
    ["zumba", "zumbazumba-", "5", "15", "val", "0"],
]
NAMES = ["-0abcdefghi_000013_000023", "ski_1_ab-cd_000000_000010", "skier_00001_000100_000110"]


@pytest.fixture
def kinetics():
    return cards.dataset_card("kinetics400")


def annotate(path, rows=ROWS, header=HEADER, quoting=csv.QUOTE_MINIMAL, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, quoting=quoting).writerows([header, *rows])


@pytest.mark.parametrize("place", ["annotations/val.csv", "val.csv", "validate.csv", "annotations/val.txt"])
@pytest.mark.parametrize("folder", ["val", "videos/val"])
def test_clips_are_found_by_id_and_seconds(tmp_path, kinetics, touch, targets, place, folder):
    annotate(tmp_path / place)
    endings = (".mp4", ".mkv", ".webm")
    touch(*(tmp_path / folder / f"{name}{ending}" for name, ending in zip(NAMES, endings, strict=True)))
    dataset = open_dataset(tmp_path, kinetics)
    assert targets(dataset) == {
        f"{folder}/{NAMES[0]}.mp4": 0,
        f"{folder}/{NAMES[1]}.mkv": 308,
        f"{folder}/{NAMES[2]}.webm": 309,
        f"{folder}/zumbazumba-_000005_000015.mp4": 399,  # missing, and counted
    }
    assert [sample.path.is_file() for sample in dataset.samples] == [True, True, True, False]
    assert (dataset.format, dataset.num_classes) == ("kinetics_csv", 400)
    assert dataset.folders == (tmp_path / folder,)
    assert targets(open_dataset(tmp_path / place, kinetics)) == targets(dataset)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_columns_may_stand_in_any_order(tmp_path, kinetics, touch, targets, encoding, quoting):
    touch(tmp_path / "val" / f"{NAMES[0]}.mp4")
    rows = [[row[1], row[3], row[0], row[2]] for row in ROWS[:1]] + [["", "", "", ""]]
    header = ["Youtube_ID", "time_end", " label", "time_start"]
    annotate(tmp_path / "val.csv", rows, header, quoting, encoding)
    assert targets(open_dataset(tmp_path, kinetics)) == {f"val/{NAMES[0]}.mp4": 0}


def test_clips_may_lie_deeper_flat_or_under_other_names(tmp_path, kinetics, touch):
    rows = [*ROWS, ["abseiling", "twice______", "0", "10"], ["zumba", "twice______", "20", "30"]]
    annotate(tmp_path / "val.csv", rows)
    touch(tmp_path / "val" / "val" / f"{NAMES[0]}.mp4")  # an archive that holds its folder
    touch(tmp_path / "val" / "skiing" / f"{NAMES[1]}.avi")  # arranged by class
    touch(tmp_path / "val" / "skier_00001.mp4")  # the id alone
    touch(tmp_path / "val" / "zumbazumba-_000004_000014.mp4")  # cut a second earlier
    touch(tmp_path / "val" / "twice_______000000_000010.mp4")
    found = {sample.id: sample.path.is_file() for sample in open_dataset(tmp_path, kinetics).samples}
    assert found == {
        f"val/val/{NAMES[0]}.mp4": True,
        f"val/skiing/{NAMES[1]}.avi": True,
        "val/skier_00001.mp4": True,
        "val/zumbazumba-_000004_000014.mp4": True,
        "val/twice_______000000_000010.mp4": True,
        "val/twice_______000020_000030.mp4": False,  # the other stretch of that video is no substitute
    }


def test_clips_right_in_the_root(tmp_path, kinetics, touch):
    annotate(tmp_path / "val.csv")
    touch(tmp_path / f"{NAMES[0]}.mp4", tmp_path / "train" / f"{NAMES[1]}.mp4")
    found = {sample.id: sample.path.is_file() for sample in open_dataset(tmp_path, kinetics).samples}
    assert found[f"{NAMES[0]}.mp4"]
    assert sum(found.values()) == 1


@pytest.mark.parametrize("name", [f"{NAMES[0]}.mp4", "-0abcdefghi_000010_000020.mp4", "-0abcdefghi.mp4"])
def test_replacements_win(tmp_path, kinetics, touch, name, caplog):
    annotate(tmp_path / "annotations" / "val.csv", ROWS[:2])
    folder = tmp_path / "replacement" / "replacement_for_corrupted_k400"
    touch(tmp_path / "val" / f"{NAMES[0]}.mp4", tmp_path / "val" / f"{NAMES[1]}.mp4")
    touch(folder / name, folder / "of_training_000000_000010.mp4")
    with caplog.at_level("INFO"):
        dataset = open_dataset(tmp_path, kinetics)
    assert [sample.path for sample in dataset.samples] == [folder / name, tmp_path / "val" / f"{NAMES[1]}.mp4"]
    assert dataset.samples[0].id == f"replacement/replacement_for_corrupted_k400/{name}"
    assert "1 clips are taken from replacement" in caplog.text


def test_a_row_that_stands_twice_counts_once(tmp_path, kinetics, touch):
    annotate(tmp_path / "val.csv", [*ROWS, ROWS[0]])
    touch(tmp_path / "val" / f"{NAMES[0]}.mp4")
    assert len(open_dataset(tmp_path, kinetics)) == 4
    annotate(tmp_path / "val.csv", [*ROWS, ["zumba", *ROWS[0][1:]]])
    with pytest.raises(DataError, match=r"line 6: .* was listed before, at line 2"):
        open_dataset(tmp_path, kinetics)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "the list is empty"),
        ([["abseiling", "x", "0", "10"], ["abseling", "y", "0", "10"]], HEADER, "line 3: 'abseling' is no class"),
        ([["abseiling", "x", "0"]], HEADER, "line 2: expected 6 columns, got 3"),
        ([["abseiling", "x/../y", "0", "10"]], HEADER, "line 2: expected a YouTube id and seconds"),
        ([["abseiling", "x", "zero", "10"]], HEADER, "line 2: expected a YouTube id and seconds"),
        ([["abseiling", "x", "0", "-10"]], HEADER, "line 2: expected a YouTube id and seconds"),
        ([["x", "0", "10", "test"]], HEADER[1:5], "line 1: expected columns label, .*; label not there"),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, kinetics, rows, header, message):
    annotate(tmp_path / "val.csv", rows, header)
    with pytest.raises(DataError, match=rf"val\.csv.*{message}"):
        open_dataset(tmp_path, kinetics)


@pytest.mark.parametrize(("name", "index"), [("kinetics600", 31), ("kinetics700", 35)])
def test_kinetics_600_and_700_are_read_by_their_names(tmp_path, touch, name, index, targets):
    annotate(tmp_path / "annotations" / "val.csv", [["biking through snow", "abc", "0", "10", "val", "0"]])
    touch(tmp_path / "val" / "abc_000000_000010.mp4")
    assert targets(open_dataset(tmp_path, cards.dataset_card(name))) == {"val/abc_000000_000010.mp4": index}


def test_without_class_names_a_list_is_asked_for(tmp_path, kinetics, targets):
    nameless = kinetics.model_copy(update={"labels": None})
    annotate(tmp_path / "annotations" / "val.csv")
    with pytest.raises(DataError, match="which number each has; write a list with one `path label` a line"):
        open_dataset(tmp_path, nameless)
    (tmp_path / "val.csv").write_text("val/a.mp4 399\n")
    assert targets(open_dataset(tmp_path, nameless)) == {"val/a.mp4": 399}
