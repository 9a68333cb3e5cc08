"""Lines of results, and the ledger of scores."""

import dataclasses
import json

import numpy as np
import pytest

from tome_zoo.errors import DataError
from tome_zoo.results import Failure, Ledger, append_results, read_results, read_scores


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


def test_the_ledger_writes_shards_and_replaces_those_of_an_earlier_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Ledger, "SHARD_SAMPLES", 2)
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    for count in (5, 3):
        ledger = Ledger(tmp_path, ("model.tag", "r8:-1", "p@1"))
        for i in range(count):
            ledger.add(f"s{i}", rows[i])
        ledger.fail(Failure("bad", "why"))
        ledger.flush()
    ids, scores = read_scores(ledger.folder)
    assert ids == ["s0", "s1", "s2"]
    np.testing.assert_array_equal(scores, rows[:3])
    assert json.loads((ledger.folder / "failed.jsonl").read_text()) == {"id": "bad", "reason": "why"}
    assert ":" not in ledger.folder.name
    assert not list(ledger.folder.glob("*.partial"))


def test_what_was_not_flushed_is_not_half_there(tmp_path):
    ledger = Ledger(tmp_path, ("key",))
    ledger.add("a", np.zeros(2))
    with pytest.raises(DataError, match="shards"):
        read_scores(ledger.folder)
