"""Scores on disk: whole shards or none, each sample once, no key in another's folder."""

import os
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tome_zoo.data.stamp import stamp
from tome_zoo.errors import DataError
from tome_zoo.evaluation.score_store import Key, Ledger, read_scores
from tome_zoo.evaluation.shard import Shard, Timing

KEY = Key(
    model="model.tag", weights="0123", r="8:-1", prop_attn=True, protocol="p@1", dtype="float32", dataset="things",
    split="val", root="data", inputs="abcd",
)  # fmt: skip


def shard(**rows):
    """Scores by id; None for a failure."""
    good = {name: row for name, row in rows.items() if row is not None}
    return Shard(
        ids=list(good),
        stamps=[(1, 2)] * len(good),
        scores=[np.array(row, dtype=np.float32) for row in good.values()],
        failed={name: "broken" for name, row in rows.items() if row is None},
        timings=[Timing(len(rows), 0.5, 7.0, '{"device": "cpu"}')],
    )


def test_what_is_written_is_read_by_the_next(tmp_path):
    ledger = Ledger(tmp_path, KEY, seconds=0)
    ledger.add(shard(a=[1, 2], b=[3, 4]))
    ledger.add(shard(c=[5, 6], d=None))
    other = Ledger(tmp_path, KEY)
    assert other.done == {"a": (1, 2), "b": (1, 2), "c": (1, 2)}
    assert other.failed == {"d": "broken"}
    found = other.read()
    assert dict(zip(found.ids, np.stack(found.scores).tolist(), strict=True)) == {"a": [1, 2], "b": [3, 4], "c": [5, 6]}
    assert found.timings == [Timing(2, 0.5, 7.0, '{"device": "cpu"}')] * 2
    ids, scores = read_scores(ledger.folder)
    assert ids == ["a", "b", "c"]
    assert scores.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_later_scores_count_and_mend_a_failure(tmp_path):
    ledger = Ledger(tmp_path, KEY, seconds=0)
    ledger.add(shard(a=[1], b=None))
    ledger.add(shard(a=[9], b=[2]))
    ids, scores = read_scores(ledger.folder)
    assert (ids, scores.tolist()) == (["a", "b"], [[9], [2]])
    assert Ledger(tmp_path, KEY).failed == {}


def test_nothing_is_there_before_it_is_flushed_and_no_half_after(tmp_path):
    ledger = Ledger(tmp_path, KEY, seconds=1e9)
    ledger.add(shard(a=[1]))
    with pytest.raises(DataError, match="found none"):
        read_scores(ledger.folder)
    ledger.flush()
    (path,) = ledger.folder.glob("*.npz")
    assert not list(ledger.folder.glob("*.partial"))
    path.write_bytes(path.read_bytes()[:-20])
    assert Ledger(tmp_path, KEY).done == {}
    path.write_bytes(b"")
    assert Ledger(tmp_path, KEY).done == {}


@pytest.mark.parametrize("name", ["model", "weights", "r", "protocol", "dtype", "dataset", "split", "root", "inputs"])
def test_another_key_is_another_folder(tmp_path, name):
    ledger = Ledger(tmp_path, KEY, seconds=0)
    ledger.add(shard(a=[1]))
    other = Ledger(tmp_path, replace(KEY, **{name: "other"}))
    assert other.folder != ledger.folder
    assert other.done == {}
    assert Ledger(tmp_path, replace(KEY, prop_attn=False)).done == {}


def test_a_folder_of_another_key_is_refused(tmp_path):
    folder = Ledger(tmp_path, KEY).folder
    for damaged in (b"{}", b"", b"\xff\x00"):
        (folder / "key.json").write_bytes(damaged)
        with pytest.raises(DataError, match="another"):
            Ledger(tmp_path, KEY)


def test_one_shard_stands_for_all(tmp_path):
    ledger = Ledger(tmp_path, KEY, seconds=0)
    for name in "abc":
        ledger.add(shard(**{name: [1]}))
    ledger.replace(ledger.read())
    assert len(list(ledger.folder.glob("*.npz"))) == 1
    assert sorted(Ledger(tmp_path, KEY).done) == ["a", "b", "c"]
    assert Ledger(tmp_path, KEY, fresh=True).done == {}


def test_in_memory_nothing_touches_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(None, KEY, seconds=0)
    ledger.add(shard(a=[1]))
    ledger.flush()
    assert ledger.read().ids == ["a"]
    assert not list(tmp_path.iterdir())


def test_rows_on_disk_do_not_stay_in_memory(tmp_path):
    """6.4 MB of scores pass through a few hundred kB."""
    ledger = Ledger(tmp_path, KEY, seconds=0)
    tracemalloc.start()
    try:
        for number in range(200):
            rows = {f"{number}/{i}": np.full(1000, number, dtype=np.float32) for i in range(8)}
            ledger.add(shard(**rows))
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    ids, scores = read_scores(ledger.folder)
    assert (len(ids), scores.nbytes) == (1600, 6_400_000)


def test_a_full_disk_leaves_no_litter_and_loses_no_score(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path, KEY, seconds=1e9)
    ledger.add(shard(a=[1]))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            ledger.flush()
    assert [path.name for path in ledger.folder.iterdir()] == ["key.json"]
    ledger.flush()
    assert read_scores(ledger.folder)[0] == ["a"]


def test_shards_of_a_process_that_was_killed_are_cleared_away(tmp_path):
    ledger = Ledger(tmp_path, KEY, seconds=0)
    old, new = ledger.folder / ".0-a.npz.partial", ledger.folder / ".1-b.npz.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    ledger.add(shard(a=[1]))
    ledger.replace(ledger.read())
    assert (old.exists(), new.exists()) == (False, True)


def test_a_shard_that_another_process_adds_meanwhile_stays(tmp_path):
    one, other = Ledger(tmp_path, KEY, seconds=0), Ledger(tmp_path, KEY, seconds=0)
    one.add(shard(a=[1]))
    content = one.read()
    other.add(shard(b=[2]))
    one.replace(content)
    assert read_scores(one.folder)[0] == ["a", "b"]


def test_later_scores_count_though_the_clock_goes_back(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path, KEY, seconds=0)
    ledger.add(shard(a=[1]))
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    ledger.add(shard(a=[2]))
    assert read_scores(ledger.folder)[1].tolist() == [[2]]


def test_a_part_of_a_shard():
    part = shard(a=[1], b=[2], c=None).only({"b", "z"})
    assert (part.ids, [row.tolist() for row in part.scores], part.failed) == (["b"], [[2]], {"c": "broken"})


def test_a_stamp_tells_a_file_that_was_replaced(tmp_path):
    path = tmp_path / "file"
    assert stamp(path) == (-1, -1)
    path.write_bytes(b"abc")
    assert stamp(path)[0] == 3
