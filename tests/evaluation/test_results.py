"""Lines of results, and the table made of them."""

import csv
import dataclasses
import json
import warnings

import pytest

from tome_zoo.errors import DataError
from tome_zoo.evaluation.results import Failure, Result, append_results, read_results, write_table


def test_a_line_holds_what_the_result_says(make_result, tmp_path):
    result = make_result(r="8:-1", top1=81.25, top5=97.5, failed=(Failure("a.png", "broken"),), n_failed=1, n_scored=7)
    path = append_results(tmp_path / "new", [result])
    append_results(tmp_path / "new", [make_result(r="0")])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["r"] for line in lines] == ["8:-1", "0"]
    assert {"model", "r", "protocol", "top1", "top5", "gmacs", "samples_per_second"} <= set(lines[0])
    assert (lines[0]["n_expected"], lines[0]["n_scored"], lines[0]["n_failed"]) == (8, 7, 1)
    assert lines[0]["failed"] == [{"id": "a.png", "reason": "broken"}]
    assert "map" not in lines[0]
    assert read_results(tmp_path / "new")[0] == result


def test_map_stands_where_top1_would(make_result):
    result = make_result(map=90.5, classes_scored=3)
    assert (result.metric, result.score) == ("map", 90.5)
    assert "top1" not in result.to_json()


def test_a_line_lists_the_first_failures_only(make_result):
    failed = tuple(Failure(str(i), "broken") for i in range(100))
    assert len(make_result(failed=failed, n_failed=100).to_json()["failed"]) == 20


def test_results_are_frozen(make_result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_result().r = "4"


def test_damaged_or_missing_results_are_named(tmp_path):
    with pytest.raises(DataError, match="expected results"):
        read_results(tmp_path)
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1"):
        read_results(tmp_path)


def test_half_a_line_counts_as_not_written(make_result, tmp_path):
    path = append_results(tmp_path, [make_result(r="0")])
    with path.open("a") as file:
        file.write('{"model": "mod')
    assert [result.r for result in read_results(tmp_path)] == ["0"]
    append_results(tmp_path, [make_result(r="2")])
    assert [result.r for result in read_results(tmp_path)] == ["0", "2"]


def test_a_last_line_that_lost_only_its_end_counts(make_result, tmp_path):
    path = append_results(tmp_path, [make_result(r="0")])
    path.write_text(path.read_text().rstrip())
    assert [result.r for result in read_results(tmp_path)] == ["0"]
    append_results(tmp_path, [make_result(r="2")])
    assert [result.r for result in read_results(tmp_path)] == ["0", "2"]


def test_what_pandas_has_rewritten_is_read(make_result, tmp_path):
    """Numbers for texts, milliseconds for dates, null for what a line lacks; a digest that lost digits is refused."""
    pandas = pytest.importorskip("pandas")
    before = [make_result(r="8"), make_result(r="0", limit=3, commit="123456789012", weights="0012345678901234")]
    path = append_results(tmp_path, before)
    with warnings.catch_warnings(action="ignore"):  # dates will be texts in a later pandas
        pandas.read_json(path, lines=True, dtype={"weights": str}).to_json(
            path, lines=True, orient="records", date_format="epoch"
        )
    again = read_results(tmp_path)
    assert [(result.r, result.date, result.tokens, result.limit) for result in again] == [
        (result.r, result.date, result.tokens, result.limit) for result in before
    ]
    path.write_text(json.dumps(make_result().to_json() | {"weights": 1.2e15}) + "\n")
    with pytest.raises(DataError, match="field weights"):
        read_results(tmp_path)
    path.write_text(json.dumps(make_result().to_json() | {"r": "eight"}) + "\n")
    with pytest.raises(DataError, match=r"line 1.*eight"):
        read_results(tmp_path)


def test_the_table_has_every_field(make_result, tmp_path):
    append_results(tmp_path, [make_result(r="9,0,4"), make_result(map=12.5, commit="abc")])
    with write_table(tmp_path).open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [field.name for field in dataclasses.fields(Result)]
    assert [row["r"] for row in rows] == ["9,0,4", "0"]
    assert (rows[0]["top1"], rows[1]["map"], rows[1]["commit"]) == ("50.0", "12.5", "abc")
    assert rows[0]["versions"] == "tome-zoo=0.1.0 torch=2"
