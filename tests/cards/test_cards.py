"""Cards: what ships is consistent, and what is wrong is refused with file and field."""

import subprocess
import sys

import pytest

from tome_zoo import cards
from tome_zoo.errors import CardError

MODEL = """
[[model]]
name = "mine.v1"
modality = "image"
architecture = { embed_dim = 48, depth = 2, num_heads = 3, num_classes = 3, img_size = 32 }
input = { mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }
merging = { r = [0, 2, [2, -1.0], [1, 1], "3:0.5"], default_r = 2 }
dataset = "mine"
protocol = "image_center_crop"
"""
DATASET = """
[[dataset]]
name = "mine"
modality = "image"
title = "Mine"
layout = "image_folder"
splits = { val = "val" }
num_classes = 3
labels = "mine.txt"
license = "mine"
origin = "me"
obtain = "ask me"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.toml").write_text(MODEL + DATASET)
    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    yield tmp_path
    cards.unregister_cards(tmp_path)


def _with(folder, old, new):
    text = (folder / "mine.toml").read_text()
    assert old in text
    (folder / "mine.toml").write_text(text.replace(old, new))
    return folder


def test_own_folder_is_added_and_taken_back(folder):
    assert cards.register_cards(folder) == ("mine.v1",)
    card = cards.model_card("mine.v1")
    assert card.merging.r == [0, 2, (2, -1.0), [1, 1], (3, 0.5)]
    assert cards.labels("mine") == ("a", "b", "c")
    cards.unregister_cards(folder)
    with pytest.raises(CardError, match=r"no model is named 'mine.v1'"):
        cards.model_card("mine.v1")


def test_duplicate_name_is_refused_and_nothing_is_added(folder):
    (folder / "other.toml").write_text(MODEL.replace("mine.v1", "vit_base_patch16_224.mae_ft_in1k"))
    with pytest.raises(
        CardError, match=r"other\.toml: model 'vit_base_patch16_224.mae_ft_in1k' is already defined in .*mae\.toml"
    ):
        cards.register_cards(folder)
    assert "mine.v1" not in cards.model_cards()
    (folder / "other.toml").unlink()
    cards.register_cards(folder)
    with pytest.raises(CardError, match="already defined"):
        cards.register_cards(folder)


def test_weights_lie_beside_the_card(folder):
    _with(
        folder,
        'dataset = "mine"',
        'weights = { file = "w.safetensors", layout = "timm", license = "mine" }\ndataset = "mine"',
    )
    cards.register_cards(folder)
    assert cards.model_card("mine.v1").weights.file == folder.resolve() / "w.safetensors"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth = 2", "depth = 0", r"field 'architecture.depth': .*greater than 0 \(got 0\)"),
        ("depth = 2", "deepth = 2", r"field 'architecture.deepth': unknown key"),
        ('name = "mine.v1"', 'name = "mine.v1"\nspeed = 3', r"mine\.toml: model 'mine.v1': field 'speed': unknown key"),
        ('modality = "image"\narch', 'modality = "smell"\narch', r"field 'modality'"),
        ("mean = [0.5, 0.5, 0.5]", "mean = [0.5, 0.5]", r"field 'input.mean.2': Field required"),
        (
            "mean = [0.5, 0.5, 0.5]",
            "mean = [0.5, 0.5, 0.5], sample_rate = 8",
            r"unknown key 'sample_rate' for image; known: crop_mode, crop_pct",
        ),
        ("default_r = 2", "default_r = -1", r"at least 0, got -1"),
        ("default_r = 2", "default_r = [1, 2, 3]", r"3 entries for 2 blocks"),
        ("default_r = 2", "default_r = [2.0, 1]", r"a float marks the inflection"),
        ("default_r = 2", "default_r = nan", r"field 'merging.default_r'"),
        ("num_classes = 3, img", "num_classes = 4, img", r"num_classes' is 4, but data set 'mine' has 3 classes"),
        ("img_size = 32", "img_size = 32, num_frames = 4, tubelet_size = 2", r"belong to video models"),
        ('protocol = "image_center_crop"', 'protocol = "image_centre_crop"', r"nearest: image_center_crop"),
        (
            'protocol = "image_center_crop"',
            'protocol = "audio_clip"',
            r"is for image, but protocol 'audio_clip' is for audio",
        ),
        ('dataset = "mine"', 'dataset = "audioset"', r"is for image, but dataset 'audioset' is for audio"),
        (
            'dataset = "mine"',
            'dataset = "mine"\nweights = { layout = "timm", license = "x" }',
            r"exactly one of file, url and hub",
        ),
        (
            'dataset = "mine"',
            'dataset = "mine"\nweights = { hub = "a/b", layout = "timm", license = "x" }',
            r"needs filename",
        ),
        ("[[model]]", "[model]", r"two brackets"),
        ("[[model]]", "[[models]]", r"unknown table 'models'"),
        ("[[model]]", "[[model", r"mine\.toml: not TOML: .*line"),
        (
            'labels = "mine.txt"',
            'labels = "mine.txt"\nlayout_version = 2',
            r"dataset 'mine': field 'layout_version': unknown key",
        ),
    ],
)
def test_fault_is_named_with_file_and_field(folder, old, new, message):
    with pytest.raises(CardError, match=message) as caught:
        cards.register_cards(_with(folder, old, new))
    assert "mine.toml" in str(caught.value)


def test_protocols_are_consistent(folder):
    (folder / "p.toml").write_text('[[protocol]]\nname = "p"\nversion = 1\nmodality = "video"\ntemporal_views = 2\n')
    with pytest.raises(CardError, match=r"p\.toml: protocol 'p': .*softmax_mean"):
        cards.register_cards(folder)
    (folder / "p.toml").write_text('[[protocol]]\nname = "p"\nversion = 1\nmodality = "audio"\nsampling = "strided"\n')
    with pytest.raises(CardError, match=r"p\.toml: protocol 'p': .*is for video"):
        cards.register_cards(folder)


def test_folder_without_cards_and_no_folder(tmp_path):
    with pytest.raises(CardError, match="holds no card"):
        cards.register_cards(tmp_path)
    with pytest.raises(CardError, match="expected a folder of cards"):
        cards.register_cards(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["a\nb\n", "a\nb\nb\n", "a\n\nc\n"])
def test_label_file_has_to_fit(folder, text):
    (folder / "mine.txt").write_text(text)
    cards.register_cards(folder)
    with pytest.raises(CardError, match=r"mine\.txt"):
        cards.labels("mine")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "index,mid,display_name\n0,/m/1,cat\n1,/m/2,dog\n"),
        ("a.csv", "0,/m/1,cat\n1,/m/2,dog\n"),
        ("a.csv", "index,display_name,mid\n1,dog,/m/2\n0,cat,/m/1\n"),
        ("a.csv", "mid,name,number\r\n/m/1,cat,1\r\n/m/2,dog,2\r\n"),
        ("a.tsv", "\ufeff0\t/m/1\tcat\n1\t/m/2\tdog\n"),
    ],
)
def test_class_lists_of_any_order_with_or_without_a_header(tmp_path, name, text):
    (tmp_path / name).write_text(text, newline="")
    assert cards.read_labels(tmp_path / name, 2) == (("/m/1", "/m/2"), ("cat", "dog"))


@pytest.mark.parametrize("text", ["id,name\n0,cat\n1,dog\n", "cat,0\ndog,1\n", "name,id\ndog,2\ncat,1\n"])
def test_names_are_identifiers_where_there_are_no_others(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    assert cards.read_labels(tmp_path / "a.csv", None) == (("cat", "dog"), ("cat", "dog"))


@pytest.mark.parametrize("text", ["", "index,name\n", "0,cat\n2,dog\n", "0\n1\n", "cat\ndog\n", "0,cat\n1\n"])
def test_class_lists_that_do_not_number_their_classes_are_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(CardError, match=r"a\.csv: cannot read class names"):
        cards.read_labels(tmp_path / "a.csv", None)


def test_cards_are_frozen():
    card = cards.model_card("vit_base_patch16_224.mae_ft_in1k")
    with pytest.raises(ValueError, match="frozen"):
        card.name = "other"


def test_label_lists_are_canonical():
    assert len(cards.labels("imagenet1k")) == 1000
    assert cards.labels("imagenet1k")[0] == "tench, Tinca tinca"
    wnids = cards.read_classes(cards.dataset_card("imagenet1k"))[0]
    assert wnids[0] == "n01440764"
    assert list(wnids) == sorted(wnids)
    kinetics = cards.labels("kinetics400")
    assert len(kinetics) == 400
    assert list(kinetics) == sorted(kinetics)
    assert kinetics[308:310] == ("skiing (not slalom or crosscountry)", "skiing crosscountry")
    assert (cards.labels("audioset")[0], cards.read_classes(cards.dataset_card("audioset"))[0][526]) == (
        "Speech",
        "/m/07hvw1",
    )
    assert len(cards.labels("audioset")) == 527
    for name, count in (("kinetics600", 600), ("kinetics700", 700)):
        assert len(cards.labels(name)) == len(set(cards.labels(name))) == count
        assert list(cards.labels(name)) == sorted(cards.labels(name))


def test_every_shipped_card_says_what_it_must():
    for card in cards.model_cards().values():
        assert card.summary, card.name
        assert card.weights is not None, card.name
        assert card.weights.license, card.name
        assert card.weights.source, card.name
        assert card.merging.default_r in card.merging.r, card.name
        assert 0 in card.merging.r, card.name
    for card in cards.dataset_cards().values():
        assert card.labels is None or card.labels.is_file(), card.name
        assert card.labels is None or card.labels_source or card.name.startswith(("shapes", "motions", "sounds")), (
            card.name
        )
    for card in cards.protocol_cards().values():
        assert card.id == f"{card.name}@{card.version}"


def test_cards_need_neither_torch_nor_timm():
    code = (
        "import sys, tome_zoo.cards as c; c.model_cards(); sys.exit(any(m in sys.modules for m in ('torch', 'timm')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
