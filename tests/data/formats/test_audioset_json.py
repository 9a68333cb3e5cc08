"""JSON manifests of sounds."""

import json

import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import DataError


def manifest(folder, *entries):
    (folder / "val.json").write_text(json.dumps({"data": list(entries)}))


def test_audioset_manifests(tmp_path, targets):
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
    assert (dataset.format, dataset.num_classes) == ("audioset_json", 527)
    assert targets(open_dataset(tmp_path / "eval.json", audioset)) == targets(dataset)


@pytest.mark.parametrize("head", ["# sample of AST\n", "\ufeff# a\r\n#b\r\n\r\n", "  # a [comment]\n\n", "\n"])
def test_comment_lines_may_stand_before_a_manifest(tmp_path, card, targets, head):
    some = card("audioset_json", ["bell"])
    (tmp_path / "val.json").write_bytes((head + '{"data": [{"wav": "#a.wav", "labels": "bell"}]}').encode())
    assert targets(open_dataset(tmp_path, some)) == {"#a.wav": (0,)}
    (tmp_path / "val.json").write_bytes((head + '{"data": [}').encode())
    with pytest.raises(DataError, match=f"line {head.count(chr(10)) + 1}: no valid JSON"):
        open_dataset(tmp_path, some)


def test_sounds_of_one_class_each(tmp_path, card, targets):
    some = card("audioset_json", ["bell", "dog bark"], multi_label=False)
    manifest(tmp_path, {"wav": "a.wav", "labels": "dog_bark"})
    assert targets(open_dataset(tmp_path, some)) == {"a.wav": 1}
    manifest(tmp_path, {"wav": "a.wav", "labels": "bell,dog bark"})
    with pytest.raises(DataError, match=r"data\[0\].labels: expected one label, got 2"):
        open_dataset(tmp_path, some)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"val\.json, line 1: no valid JSON"),
        ("# a comment", r"val\.json, line 1: no valid JSON"),
        ('{"data": []}\n# a comment', "line 2: no valid JSON"),
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
def test_malformed_manifests_are_refused(tmp_path, card, content, message):
    (tmp_path / "val.json").write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path, card("audioset_json", ["bell", "dog bark"]))


def test_a_missing_manifest_is_refused(tmp_path, card):
    with pytest.raises(DataError, match=r"Looked for audioset_json: train\.json with"):
        open_dataset(tmp_path, card("audioset_json", ["bell"]), "train")


def test_names_that_only_punctuation_tells_apart_need_their_exact_spelling(tmp_path, card, targets):
    some = card("audioset_json", ["c", "c++"])
    manifest(tmp_path, {"wav": "a.wav", "labels": "c++"}, {"wav": "b.wav", "labels": "c"})
    assert targets(open_dataset(tmp_path, some)) == {"a.wav": (1,), "b.wav": (0,)}
    manifest(tmp_path, {"wav": "a.wav", "labels": "C"})
    with pytest.raises(DataError, match="'C' is no class"):
        open_dataset(tmp_path, some)
