"""Lists of videos, one `path label` a line."""

import csv
import io
import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tome_zoo.data.dataset import open_dataset
from tome_zoo.data.formats.video_list import lines, split_line
from tome_zoo.errors import DataError


@pytest.mark.parametrize("name", ["val.csv", "val.txt"])
def test_video_lists(tmp_path, card, targets, name):
    listed = ["a.mp4 0", "deep/b c.mp4 2", "", "x,y.mp4,1", '"q, r.mp4", 1', "./e.mp4\t0", f"{tmp_path}/f.mp4 1",
              "/elsewhere/g.mp4 2",
              '"say ""hi"".mp4" 0', "it's.mp4 1", "-h_i.mp4 2", '"both ends".mp4 , 0']  # fmt: skip
    (tmp_path / name).write_bytes(("\ufeff" + "\r\n".join(listed) + "\n").encode())
    dataset = open_dataset(tmp_path, card("video_list"))
    assert targets(dataset) == {
        "a.mp4": 0, "deep/b c.mp4": 2, "x,y.mp4": 1, "q, r.mp4": 1, "e.mp4": 0, "f.mp4": 1, "/elsewhere/g.mp4": 2,
        'say "hi".mp4': 0, "it's.mp4": 1, "-h_i.mp4": 2, '"both ends".mp4': 0,
    }  # fmt: skip
    assert dataset.samples[1].path == tmp_path / "deep" / "b c.mp4"
    assert dataset.labels == ()
    assert (dataset.format, dataset.num_classes) == ("video_list", 3)
    assert targets(open_dataset(tmp_path / name, card("video_list"))) == targets(dataset)


PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), min_size=1)


@given(PATHS, st.integers(0, 699), st.sampled_from([" ", "\t", ",", " , ", "  "]), st.sampled_from(["", "\r"]))
def test_any_quoted_path_comes_back(path, label, separator, end):
    quoted = '"' + path.replace('"', '""') + '"'
    ((number, line),) = lines(f"\n{quoted}{separator}{label}{end}\n")
    assert number == 2
    assert split_line(line) == (path, str(label))


@given(PATHS, st.integers(0, 699), st.sampled_from([" ", "\t", ","]))
def test_a_bare_path_comes_back_if_nothing_hides_its_ends(path, label, separator):
    assume(path.strip() == path and not path.endswith(",") and not path.startswith('"'))
    ((_, line),) = lines(f"{path}{separator}{label}\n")
    assert split_line(line) == (path, str(label))


@given(st.lists(st.tuples(PATHS, st.integers(0, 2)), min_size=1, max_size=5))
def test_what_the_csv_module_writes_comes_back(rows):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows(rows)
    found = [split_line(line) for _, line in lines(buffer.getvalue())]
    assert found == [(path, str(label)) for path, label in rows]


@given(rows=st.lists(st.tuples(PATHS, st.integers(0, 2)), max_size=6))
def test_ids_are_unique_paths_below_the_list(tmp_path_factory, rows):
    from tome_zoo.cards import DatasetCard

    folder = tmp_path_factory.mktemp("list")
    (folder / "val.csv").write_bytes("".join('"' + p.replace('"', '""') + f'" {label}\n' for p, label in rows).encode())
    some = DatasetCard(
        name="some", modality="video", title="", layout="video_list", splits={"val": "val.csv"}, num_classes=3,
        license="", origin="", obtain="",
    )  # fmt: skip
    keys = [os.path.normpath(path) for path, _ in rows]
    if len(set(keys)) < len(keys) or not rows:
        with pytest.raises(DataError, match=r"listed before|the list is empty"):
            open_dataset(folder, some)
    else:
        samples = open_dataset(folder, some).samples
        assert [(os.path.normpath(sample.path), sample.target) for sample in samples] == [
            (os.path.normpath(os.path.join(folder, path)), label) for path, label in rows
        ]
        assert len({sample.id for sample in samples}) == len(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the list is empty"),
        ("\n \n", "the list is empty"),
        ("a.mp4 0\nb.mp4\n", "line 2: expected `path label`, got 'b.mp4'"),
        ("a.mp4 0\n, 1\n", "line 2: expected `path label`, got ', 1'"),
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
def test_malformed_video_lists_are_refused(tmp_path, card, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "val.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"val\.csv.*{message}"):
        open_dataset(tmp_path, card("video_list"))
