"""An evaluation that is stopped, at any moment and in any way, goes on to the very same figures."""

import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tome_zoo import create_model, evaluate, modalities
from tome_zoo.ledger import read_scores
from tome_zoo.results import read_results

NAME = "tiny_image.test"
FIGURES = ("r", "top1", "top5", "n_expected", "n_scored", "n_failed", "gmacs", "tokens", "weights", "key")


def figures(results):
    return [[getattr(result, name) for name in FIGURES] for result in results]


def all_scores(output):
    """Ids and scores of every key, sorted by folder."""
    return [read_scores(folder) for folder in sorted((output / "scores").iterdir())]


def same_scores(one, other):
    return all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


@pytest.fixture
def copied(tiny_zoo, tmp_path):
    return shutil.copytree(tiny_zoo / "image", tmp_path / "image")


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded."""
    module, names = modalities.get("image"), []
    read = module.read
    monkeypatch.setattr(module, "read", lambda path, spec: (names.append(path.name), read(path, spec))[1])
    return names


SLOW = """
import sys, time
import tome_zoo
from tome_zoo import evaluation, modalities
image = modalities.get("image")
read = image.read
def slow(path, spec):
    time.sleep(0.03)
    return read(path, spec)
image.read = slow
cards, data, output = sys.argv[1:]
tome_zoo.register_cards(cards)
print("ready", flush=True)
evaluation.evaluate("tiny_image.test", data, r=[0, 2, 4], batch_size=2, output=output, flush_seconds=0.0)
print("done", flush=True)
"""


def test_killed_at_ten_moments_it_ends_with_the_same_figures(tiny_zoo, copied, tmp_path):
    """kill -9 from before the first batch to the writing of the results; then it is left to finish."""
    (copied / "val" / "bee" / "1.png").write_bytes(b"")
    whole = evaluate(NAME, copied, r=[0, 2, 4], batch_size=2, output=tmp_path / "whole")
    command = [sys.executable, "-c", SLOW, str(tiny_zoo / "cards"), str(copied), str(tmp_path / "killed")]
    moments = random.Random(7)
    killed = held = 0
    for _ in range(10):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 0.35))
        process.send_signal(signal.SIGKILL)
        killed += "done" not in process.communicate()[0]
        now = sum(len(ids) for ids, _ in _readable(tmp_path / "killed"))
        assert now >= held, "scores that were there are gone"
        held = now
    assert killed >= 5
    evaluate(NAME, copied, r=[0, 2, 4], batch_size=2, output=tmp_path / "killed")
    found = read_results(tmp_path / "killed")
    assert figures(found) == figures(whole)
    assert [result.failed for result in found] == [result.failed for result in whole]
    for ids, _ in all_scores(tmp_path / "killed"):
        assert len(ids) == len(set(ids)) == 21
    assert same_scores(all_scores(tmp_path / "killed"), all_scores(tmp_path / "whole"))


def _readable(output):
    for folder in (output / "scores").glob("*"):
        if any(folder.glob("*.npz")):
            yield read_scores(folder)


def test_interrupted_between_batches(tiny_zoo, tmp_path, decoded):
    def stop(done, total):
        assert total == 22
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(NAME, tiny_zoo / "image", r=[0, 2], batch_size=4, output=tmp_path, progress=stop)
    assert not (tmp_path / "results.jsonl").exists()
    assert [len(ids) for ids, _ in all_scores(tmp_path)] == [8, 8]
    decoded.clear()
    evaluate(NAME, tiny_zoo / "image", r=[0, 2], batch_size=4, output=tmp_path)
    assert len(decoded) == 14
    assert [result.n_scored for result in read_results(tmp_path)] == [22, 22]


def test_an_error_midway_keeps_what_was_computed(tiny_zoo, tmp_path):
    model, calls = create_model(NAME, pretrained=True), []
    handle = model.register_forward_hook(lambda *_: calls.append(0) or (1 / 0 if len(calls) == 4 else None))
    with pytest.raises(ZeroDivisionError):
        evaluate(model, tiny_zoo / "image", batch_size=4, output=tmp_path)
    assert len(all_scores(tmp_path)[0][0]) == 8  # the first forward warms up
    handle.remove()
    (result,) = evaluate(model, tiny_zoo / "image", batch_size=4, output=tmp_path)
    assert result.n_scored == 22


def test_a_finished_run_is_not_repeated(tiny_zoo, tmp_path, decoded):
    first = evaluate(NAME, tiny_zoo / "image", r=[0, 2], output=tmp_path, time_timm=True)
    text = (tmp_path / "results.jsonl").read_text()
    decoded.clear()
    again = evaluate(NAME, tiny_zoo / "image", r=[0, 2], output=tmp_path)
    assert again == first
    assert decoded == []
    assert (tmp_path / "results.jsonl").read_text() == text
    (third, _) = evaluate(NAME, tiny_zoo / "image", r=[4, 0], output=tmp_path)
    assert len(decoded) == 22
    assert [result.r for result in read_results(tmp_path)] == ["0", "2", "4"]
    assert third.r == "4"
    evaluate(NAME, tiny_zoo / "image", r=[0], output=tmp_path, resume=False)
    assert len(decoded) == 44
    assert [result.r for result in read_results(tmp_path)] == ["0", "2", "4", "0"]


def test_a_limited_run_is_part_of_the_whole(tiny_zoo, tmp_path, decoded):
    evaluate(NAME, tiny_zoo / "image", limit=10, output=tmp_path)
    evaluate(NAME, tiny_zoo / "image", output=tmp_path)
    assert len(decoded) == len(set(map(str, decoded))) or len(decoded) == 22
    assert [(result.limit, result.n_scored) for result in read_results(tmp_path)] == [(10, 10), (None, 22)]


def test_a_mended_file_and_a_changed_one_are_scored_anew(copied, tmp_path, decoded):
    broken, other = copied / "val" / "ant" / "0.png", copied / "val" / "bee" / "5.png"
    good = broken.read_bytes()
    broken.write_bytes(b"")
    (before,) = evaluate(NAME, copied, output=tmp_path / "out")
    assert (before.n_scored, before.n_failed) == (21, 1)
    decoded.clear()
    broken.write_bytes(good)
    shutil.copy(copied / "val" / "dog" / "3.png", other)
    (after,) = evaluate(NAME, copied, output=tmp_path / "out")
    assert (after.n_scored, after.n_failed) == (22, 0)
    assert len(decoded) == 2
    fresh = evaluate(NAME, copied, output=tmp_path / "fresh")
    assert (after.top1, after.top5) == (fresh[0].top1, fresh[0].top5)
    other.write_bytes(b"")
    (gone,) = evaluate(NAME, copied, output=tmp_path / "out")
    assert (gone.n_scored, gone.n_failed) == (21, 1)


def test_another_batch_size_midway_computes_what_is_missing(tiny_zoo, tmp_path, decoded):
    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(NAME, tiny_zoo / "image", batch_size=4, output=tmp_path, progress=stop)
    (result,) = evaluate(NAME, tiny_zoo / "image", batch_size=5, output=tmp_path)
    assert len(decoded) <= 8 + 14 + 4
    assert result.n_scored == 22
    ids, _ = all_scores(tmp_path)[0]
    assert len(ids) == len(set(ids)) == 22


def test_a_damaged_shard_is_computed_again(tiny_zoo, tmp_path, caplog):
    (first,) = evaluate(NAME, tiny_zoo / "image", output=tmp_path)
    (shard,) = next((tmp_path / "scores").iterdir()).glob("*.npz")
    shard.write_bytes(shard.read_bytes()[:200])
    (again,) = evaluate(NAME, tiny_zoo / "image", output=tmp_path)
    assert "damaged shard" in caplog.text
    assert figures([again]) == figures([first])


def test_other_weights_and_other_data_never_mix(tiny_zoo, copied, tmp_path):
    model = create_model(NAME, pretrained=True)
    evaluate(model, tiny_zoo / "image", output=tmp_path / "out")
    model.head.bias.data += 1
    evaluate(model, tiny_zoo / "image", output=tmp_path / "out")
    evaluate(model, copied, output=tmp_path / "out")
    evaluate(model, copied, output=tmp_path / "out", dtype="bfloat16")
    assert len(list((tmp_path / "out" / "scores").iterdir())) == 4
    assert len({result.key for result in read_results(tmp_path / "out")}) == 4
