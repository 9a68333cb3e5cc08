"""Scores on disk: whole shards or none, each sample once, no key in another's folder."""

import os
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tome_zoo.data.stamp import Stamp
from tome_zoo.errors import DataError
from tome_zoo.evaluation.conditions import Conditions, Timing
from tome_zoo.evaluation.score_store import ScoreKey, ScoreStore, read_scores, versions_before
from tome_zoo.evaluation.shard import Shard, merge_shards

KEY = ScoreKey(
    model="model.tag", weights="0123", r="8:-1", prop_attn=True, reducer="bipartite", protocol="p@1",
    dtype="float32", dataset="things", split="val", inputs="abcd", versions=("torch 2.11",),
)  # fmt: skip

STAMP = Stamp(1, 2, 3)
CPU = Conditions(device="cpu", batch_size=4, ranks=1, attention="fused")


def shard(**rows):
    """Scores by id, of one batch."""
    return Shard(
        ids=list(rows),
        stamps=[STAMP] * len(rows),
        scores=[np.array(row, dtype=np.float32) for row in rows.values()],
        timings=[Timing(next(iter(rows)), len(rows), 0.5, 7.0, CPU)],
    )


def test_what_is_written_is_read_by_the_next(tmp_path):
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    store.add(shard(a=[1, 2], b=[3, 4]))
    store.add(shard(c=[5, 6]))
    other = ScoreStore(tmp_path, KEY)
    assert other.done == {"a": STAMP, "b": STAMP, "c": STAMP}
    found = other.read()
    assert dict(zip(found.ids, np.stack(found.scores).tolist(), strict=True)) == {"a": [1, 2], "b": [3, 4], "c": [5, 6]}
    assert found.timings == [Timing("c", 1, 0.5, 7.0, CPU), Timing("a", 2, 0.5, 7.0, CPU)]
    ids, scores = read_scores(store.folder)
    assert ids == ["a", "b", "c"]
    assert scores.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_later_scores_count(tmp_path):
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    store.add(shard(a=[1]))
    store.add(shard(a=[9], b=[2]))
    ids, scores = read_scores(store.folder)
    assert (ids, scores.tolist()) == (["a", "b"], [[9], [2]])


def test_nothing_is_there_before_it_is_flushed_and_no_half_after(tmp_path):
    store = ScoreStore(tmp_path, KEY, flush_seconds=1e9)
    store.add(shard(a=[1]))
    with pytest.raises(DataError, match="found none"):
        read_scores(store.folder)
    store.flush()
    (path,) = store.folder.glob("*.npz")
    assert not list(store.folder.glob("*.part"))
    path.write_bytes(path.read_bytes()[:-20])
    assert ScoreStore(tmp_path, KEY).done == {}
    path.write_bytes(b"")
    assert ScoreStore(tmp_path, KEY).done == {}


@pytest.mark.parametrize("name", ["model", "weights", "r", "protocol", "dtype", "dataset", "split", "inputs"])
def test_another_key_is_another_folder(tmp_path, name):
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    store.add(shard(a=[1]))
    other = ScoreStore(tmp_path, replace(KEY, **{name: "other"}))
    assert other.folder != store.folder
    assert other.done == {}
    assert ScoreStore(tmp_path, replace(KEY, prop_attn=False)).done == {}


def test_a_folder_of_another_key_is_refused(tmp_path):
    folder = ScoreStore(tmp_path, KEY).folder
    for damaged in (b"{}", b"", b"\xff\x00"):
        (folder / "key.json").write_bytes(damaged)
        with pytest.raises(DataError, match="another"):
            ScoreStore(tmp_path, KEY)


def test_one_shard_stands_for_all(tmp_path):
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    for name in "abc":
        store.add(shard(**{name: [1]}))
    store.replace(store.read())
    assert len(list(store.folder.glob("*.npz"))) == 1
    assert sorted(ScoreStore(tmp_path, KEY).done) == ["a", "b", "c"]
    assert ScoreStore(tmp_path, KEY, fresh=True).done == {}


def test_in_memory_nothing_touches_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ScoreStore(None, KEY, flush_seconds=0)
    store.add(shard(a=[1]))
    store.flush()
    assert store.read().ids == ["a"]
    assert not list(tmp_path.iterdir())


def test_rows_on_disk_do_not_stay_in_memory(tmp_path):
    """6.4 MB of scores pass through a few hundred kB."""
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    tracemalloc.start()
    try:
        for number in range(200):
            rows = {f"{number}/{i}": np.full(1000, number, dtype=np.float32) for i in range(8)}
            store.add(shard(**rows))
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    ids, scores = read_scores(store.folder)
    assert (len(ids), scores.nbytes) == (1600, 6_400_000)


def test_a_full_disk_leaves_no_litter_and_loses_no_score(tmp_path, monkeypatch):
    store = ScoreStore(tmp_path, KEY, flush_seconds=1e9)
    store.add(shard(a=[1]))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            store.flush()
    assert [path.name for path in store.folder.iterdir()] == ["key.json"]
    store.flush()
    assert read_scores(store.folder)[0] == ["a"]


def test_shards_of_a_process_that_was_killed_are_cleared_away(tmp_path):
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    old, new = store.folder / ".0-a.npz.part", store.folder / ".1-b.npz.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.add(shard(a=[1]))
    store.replace(store.read())
    assert (old.exists(), new.exists()) == (False, True)


def test_a_shard_that_another_process_adds_meanwhile_stays(tmp_path):
    one, other = ScoreStore(tmp_path, KEY, flush_seconds=0), ScoreStore(tmp_path, KEY, flush_seconds=0)
    one.add(shard(a=[1]))
    content = one.read()
    other.add(shard(b=[2]))
    one.replace(content)
    assert read_scores(one.folder)[0] == ["a", "b"]


def test_no_sample_is_missed_while_another_process_puts_one_shard_in_the_place_of_several(tmp_path, monkeypatch):
    """It does so between the listing of the files and their reading."""
    one, other = ScoreStore(tmp_path, KEY, flush_seconds=0), ScoreStore(tmp_path, KEY, flush_seconds=0)
    for name in "abc":
        one.add(shard(**{name: [1]}))
    content = one.read()
    read, reads = Shard.read, []

    def replaced_meanwhile(path, with_scores=True):
        reads.append(path)
        if len(reads) == 1:
            one.replace(content)
        return read(path, with_scores)

    monkeypatch.setattr(Shard, "read", replaced_meanwhile)
    assert sorted(other.read().ids) == ["a", "b", "c"]
    reads.clear()
    one.add(shard(d=[1]))
    content = merge_shards([content, shard(d=[1])])
    one._read = sorted(one.folder.glob("*.npz"))
    assert read_scores(one.folder)[0] == ["a", "b", "c", "d"]


def test_later_scores_count_though_the_clock_goes_back(tmp_path, monkeypatch):
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    store.add(shard(a=[1]))
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    store.add(shard(a=[2]))
    assert read_scores(store.folder)[1].tolist() == [[2]]


def test_a_part_of_a_shard():
    whole = merge_shards([shard(a=[1], b=[2]), shard(c=[3])])
    part = whole.select({"b", "c", "z"})
    assert (part.ids, [row.tolist() for row in part.scores]) == (["b", "c"], [[2], [3]])
    assert [timing.batch for timing in part.timings] == ["c"]


def test_scores_of_other_versions_are_told_and_not_mixed(tmp_path):
    ScoreStore(tmp_path, KEY, flush_seconds=0).add(shard(a=[1]))
    later = replace(KEY, versions=("av 15.0", "torch 2.12"))
    assert versions_before(tmp_path, later) == ["av absent instead of 15.0", "torch 2.11 instead of 2.12"]
    assert versions_before(tmp_path, KEY) == versions_before(tmp_path, replace(later, r="4")) == []
    assert ScoreStore(tmp_path, later).done == {}


def test_a_batch_is_timed_once_under_the_same_conditions(tmp_path):
    """The latest counts, so that a store does not grow with each rerun."""
    store = ScoreStore(tmp_path, KEY, flush_seconds=0)
    for seconds in (3.0, 2.0, 1.0):
        store.add(Shard(["a"], [STAMP], [np.zeros(2)], [Timing("a", 1, seconds, 0.0, CPU)]))
    other = replace(CPU, batch_size=8)
    store.add(Shard(["a"], [STAMP], [np.zeros(2)], [Timing("a", 1, 9.0, 0.0, other)]))
    assert [(timing.seconds, timing.conditions) for timing in store.read().timings] == [(9.0, other), (1.0, CPU)]
