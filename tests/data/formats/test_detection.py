"""Which format a folder holds, and what is said where it holds none."""

import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError

HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def everything(tmp_path, touch):
    """Kinetics in all three ways at once."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "val.csv").write_text(f"{HEADER}zumba,clip,0,10,val\n")
    (tmp_path / "val.csv").write_text("listed.mp4 7\n")
    touch(tmp_path / "val" / "abseiling" / "foldered.mp4")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("video_list", ["listed.mp4"]),
        ("kinetics_csv", ["val/clip_000000_000010.mp4"]),
        ("class_folders", ["abseiling/foldered.mp4"]),
    ],
)
def test_a_format_may_be_named(everything, name, ids):
    dataset = open_dataset(everything, cards.dataset_card("kinetics400"), None, name)
    assert dataset.format == name
    assert [sample.id for sample in dataset.samples] == ids


def test_the_first_of_the_card_wins_and_the_others_are_told(everything, caplog):
    kinetics = cards.dataset_card("kinetics400")
    with caplog.at_level("INFO"):
        assert open_dataset(everything, kinetics).format == "video_list"
    assert "kinetics_csv and class_folders lies there as well" in caplog.text
    turned = kinetics.model_copy(update={"layout": kinetics.layout[::-1]})
    assert open_dataset(everything, turned).format == "class_folders"
    caplog.clear()
    (everything / "val.csv").unlink()
    (everything / "annotations" / "val.csv").unlink()
    with caplog.at_level("INFO"):
        assert open_dataset(everything, kinetics).format == "class_folders"
    assert caplog.text == ""


def test_a_header_tells_annotations_from_a_list(everything):
    kinetics = cards.dataset_card("kinetics400")
    (everything / "val.csv").write_text(f"\ufeff{HEADER}zumba,other,0,10,val\n", encoding="utf-8")
    dataset = open_dataset(everything, kinetics)
    assert dataset.format == "kinetics_csv"
    assert dataset.samples[0].id == "val/clip_000000_000010.mp4"
    assert open_dataset(everything / "val.csv", kinetics).samples[0].id == "val/other_000000_000010.mp4"
    with pytest.raises(DataError, match=r"Looked for video_list: .*val\.csv"):
        open_dataset(everything, kinetics, data_format="video_list")


def test_two_manifests_of_audioset(tmp_path):
    audioset = cards.dataset_card("audioset")
    (tmp_path / "eval_segments.csv").write_text("x, 0.000, 10.000, /m/09x0r\n")
    assert open_dataset(tmp_path, audioset).format == "audioset_csv"
    (tmp_path / "eval.json").write_text('{"data": [{"wav": "a.wav", "labels": ""}]}')
    assert open_dataset(tmp_path, audioset).format == "audioset_json"
    assert open_dataset(tmp_path, audioset, data_format="audioset_csv").format == "audioset_csv"


@pytest.mark.parametrize("name", ["kinetics400", "audioset", "imagenet1k", "image_folder"])
def test_where_nothing_fits_every_place_is_named(tmp_path, name):
    card = cards.dataset_card(name)
    (tmp_path / "unrelated" / "deeper").mkdir(parents=True)
    (tmp_path / "unrelated" / "notes.md").touch()
    with pytest.raises(DataError) as failure:
        open_dataset(tmp_path, card)
    message = str(failure.value)
    assert str(tmp_path) in message
    for data_format in card.layout:
        assert f"{data_format}: " in message
        assert data_format in card.obtain
    places = {
        "kinetics400": ["val.csv or val.txt", "annotations/val.csv", "videos/val/", "label,youtube_id,time_start"],
        "audioset": ["eval.json", "eval_segments.csv", '{"data": [{"wav":', "YTID, start, end"],
        "imagenet1k": ["val/<class>/<image>"],
        "image_folder": ["val/<class>/<image>", "validation or valid"],
    }
    assert all(place in message for place in places[name])


def test_formats_of_other_modalities_are_refused(tmp_path):
    with pytest.raises(DataError, match="'image_folder' is not for video, expected one of video_list, kinetics_csv"):
        open_dataset(tmp_path, cards.dataset_card("kinetics400"), data_format="image_folder")


@pytest.mark.parametrize("name", sorted(cards.dataset_cards()))
def test_a_root_that_is_a_file_or_nothing(tmp_path, name):
    """Whatever is named by mistake, a line says so."""
    card = cards.dataset_card(name)
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x\.zip"):
        open_dataset(tmp_path / "x.zip", card)
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "none", card)
    with pytest.raises(DataError, match=r"no split 'vall', expected one of .*; did you mean 'val'\?"):
        open_dataset(tmp_path, card, "vall")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "folders"}, "image_folder"),
        ({"layout": ()}, "at least 1"),
        ({"layout": ("image_folder", "video_list")}, "'video_list' is not for image"),
        ({"splits": {"val": ()}}, "at least 1"),
        ({"num_classes": 0}, "greater than 0"),
    ],
)
def test_cards_that_cannot_be_are_refused(card, fields, message):
    with pytest.raises(ValueError, match=message):
        card("image_folder").model_validate({**card("image_folder").model_dump(), **fields})
    with pytest.raises(ValueError, match="num_classes may be left out only where"):
        card("video_list", num_classes=None)
