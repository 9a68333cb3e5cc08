"""Google's segment lists, and sounds that are called by segment."""

import pytest

from tome_zoo import cards
from tome_zoo.data.dataset import open_dataset
from tome_zoo.errors import CardError, DataError, TomeZooError

SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/05zppz,/m/09x0r"
-BfmEWXYiqo, 30.000, 40.000, "/m/09x0r"
_aB0cd9ef-g, 7.500, 17.500, "/m/07hvw1"
zumba_zumba, 120.000, 130.000, "/m/09x0r"
"""
TARGETS = [(0, 1), (0,), (526,), (0,)]
SECONDS = [("--4gqARaEJE", 0, 10), ("-BfmEWXYiqo", 30, 40), ("_aB0cd9ef-g", 7.5, 17.5)]


@pytest.fixture
def audioset():
    return cards.dataset_card("audioset")


NAMES = {
    "as AST": lambda name, start, end: f"{name}_{start:.3f}",
    "id": lambda name, start, end: name,
    "Y and id": lambda name, start, end: f"Y{name}",
    "whole seconds": lambda name, start, end: f"{name}_{int(start)}",
    "milliseconds": lambda name, start, end: f"{name}_{start * 1000:.0f}",
    "both": lambda name, start, end: f"{name}_{start:.3f}_{end:.3f}",
    "both in seconds": lambda name, start, end: f"{name}_{int(start)}_{int(end)}",
    "both in ms": lambda name, start, end: f"{name}_{start * 1000:.0f}_{end * 1000:.0f}",
    "six digits": lambda name, start, end: f"{name}_{int(start):06d}_{int(end):06d}",
    "audioset-download": lambda name, start, end: f"{name}_{float(start)}-{float(end)}",
    "DCASE": lambda name, start, end: f"Y{name}_{start:.3f}_{end:.3f}",
}


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "m4a", "mp4", "webm", "mkv"])
def test_files_of_any_ending_are_found(tmp_path, audioset, touch, targets, ending):
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS)
    touch(*(tmp_path / "eval_segments" / f"{name}_{start:.3f}.{ending}" for name, start, _ in SECONDS))
    dataset = open_dataset(tmp_path, audioset)
    ids = [f"eval_segments/{name}_{start:.3f}.{ending}" for name, start, _ in SECONDS]
    ids.append(f"eval_segments/zumba_zumba_120.000.{ending}")  # missing, called as its neighbours are
    assert targets(dataset) == dict(zip(ids, TARGETS, strict=True))
    assert [sample.path.is_file() for sample in dataset.samples] == [True, True, True, False]
    assert (dataset.format, dataset.folders) == ("audioset_csv", (tmp_path / "eval_segments",))
    assert targets(open_dataset(tmp_path / "eval_segments.csv", audioset)) == targets(dataset)


@pytest.mark.parametrize("form", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("folder", ["eval", "audio/eval", "audios/eval_segments", "val", "somewhere/else", "."])
def test_files_are_called_in_any_usual_way(tmp_path, audioset, touch, form, folder):
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS)
    touch(*(tmp_path / folder / f"{form(*segment)}.wav" for segment in SECONDS))
    touch(tmp_path / folder / "other_30.000.wav", tmp_path / folder / "-BfmEWXYiqo_31.000.txt")
    samples = open_dataset(tmp_path, audioset).samples
    expected = [tmp_path / folder / f"{form(*segment)}.wav" for segment in [*SECONDS, ("zumba_zumba", 120, 130)]]
    assert [sample.path for sample in samples] == expected
    assert [sample.target for sample in samples] == TARGETS
    assert len({sample.id for sample in samples}) == 4


def test_nothing_there_is_four_missing(tmp_path, audioset, targets):
    (tmp_path / "eval_segments.csv").write_bytes(("\ufeff" + SEGMENTS).replace("\n", "\r\n").encode())
    found = targets(open_dataset(tmp_path, audioset))
    assert found == dict(
        zip([f"{name}_{start:.3f}.wav" for name, start, _ in [*SECONDS, ("zumba_zumba", 120, 0)]], TARGETS, strict=True)
    )


def test_a_card_may_fix_the_names(tmp_path, audioset, touch, targets):
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS)
    touch(tmp_path / "eval" / "--4gqARaEJE.wav", tmp_path / "eval" / "at 0030 s of -BfmEWXYiqo.flac")
    fixed = type(audioset).model_validate({**audioset.model_dump(), "name_template": "at {start_s:04d} s of {ytid}"})
    found = {sample.id: sample.path.is_file() for sample in open_dataset(tmp_path, fixed).samples}
    assert found == {
        "eval/at 0000 s of --4gqARaEJE.flac": False, "eval/at 0030 s of -BfmEWXYiqo.flac": True,
        "eval/at 0007 s of _aB0cd9ef-g.flac": False, "eval/at 0120 s of zumba_zumba.flac": False,
    }  # fmt: skip


@pytest.mark.parametrize("template", ["{id}", "{start}", "{ytid", "{}", "ytid", "{ytid.x}", "{ytid:q}", "{ytid[a]}"])
def test_other_templates_are_refused(audioset, template):
    with pytest.raises(ValueError, match=r"expected a template with \{ytid\}"):
        type(audioset).model_validate({**audioset.model_dump(), "name_template": template})


def test_a_row_that_stands_twice_counts_once(tmp_path, audioset):
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS + SEGMENTS.splitlines()[-1] + "\n")
    assert len(open_dataset(tmp_path, audioset)) == 4
    (tmp_path / "eval_segments.csv").write_text(SEGMENTS + 'zumba_zumba, 120.000, 130.000, "/m/05zppz"\n')
    with pytest.raises(DataError, match=r"line 8: .* was listed before, at line 7"):
        open_dataset(tmp_path, audioset)


def test_a_header_need_not_be_commented_out(tmp_path, audioset):
    (tmp_path / "eval_segments.csv").write_text("YTID,start_seconds,end_seconds,positive_labels\nx,1,2,/m/09x0r\n")
    (sample,) = open_dataset(tmp_path, audioset).samples
    assert (sample.id, sample.target) == ("x_1.wav", (0,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the list is empty"),
        ("# nothing\n\n", "the list is empty"),
        ('x, 0.000, 10.000, "/m/09x0r"\ny, 0.000, 10.000', "line 2: expected `YTID, start, end"),
        ('x, zero, 10.000, "/m/09x0r"', "line 1: expected `YTID, start, end"),
        ('x/../y, 0.000, 10.000, "/m/09x0r"', "line 1: expected `YTID, start, end"),
        ('x, 0.000, 10.000, "/m/09x0r,/m/nothing"', "line 1: '/m/nothing' is no class of data set audioset"),
    ],
)
def test_malformed_segments_are_refused(tmp_path, audioset, content, message):
    (tmp_path / "eval_segments.csv").write_text(content)
    with pytest.raises(TomeZooError, match=rf"eval_segments\.csv.*{message}") as failure:
        open_dataset(tmp_path, audioset)
    assert not isinstance(failure.value, CardError)
