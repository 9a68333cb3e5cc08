"""An evaluation that is stopped, at any moment and in any way, goes on to the very same figures."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from tome_zoo import cards, create_model, evaluate, modalities
from tome_zoo.errors import DataError
from tome_zoo.evaluation.results import read_results
from tome_zoo.evaluation.score_store import read_scores

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


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import tome_zoo
from tome_zoo import modalities
from tome_zoo.evaluation.score_store import read_scores

cards, data, output, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
tome_zoo.register_cards(cards)
image = modalities.get("image")
read = image.read
moments = random.Random(7)
for _ in range(10):
    watch, tell = os.pipe()
    child = os.fork()
    if child == 0:
        def told(path, spec):
            os.write(tell, b".")
            return read(path, spec)
        image.read = told
        tome_zoo.evaluate("tiny_image.test", data, r=[0, 2, 4], batch_size=2, output=output, flush_seconds=0.0)
        os._exit(0)
    os.close(tell)
    for _ in range(moments.randrange(1, 6)):  # so many samples, and then at any moment of what follows
        os.read(watch, 1)
    time.sleep(moments.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(watch)
    folders = [folder for folder in Path(output).glob("scores/*") if any(folder.glob("*.npz"))]
    print(int(killed), sum(len(read_scores(folder)[0]) for folder in folders))
"""


def test_killed_at_ten_moments_it_ends_with_the_same_figures(tiny_zoo, copied, tmp_path):
    """kill -9 within batches, in the model and while scores are written; then it is left to finish."""
    (copied / "val" / "bee" / "1.png").write_bytes(b"")
    whole = evaluate(NAME, copied, r=[0, 2, 4], batch_size=2, output=tmp_path / "whole")
    arguments = [str(tiny_zoo / "cards"), str(copied), str(tmp_path / "killed"), str(torch.get_num_threads())]
    done = subprocess.run([sys.executable, "-c", KILLER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed, held = zip(*(map(int, line.split()) for line in done.stdout.splitlines()), strict=True)
    assert sum(killed) >= 5
    assert any(0 < count < 63 for count in held), "no kill came while there were some scores and not all"
    assert list(held) == sorted(held), "scores that were there are gone"
    evaluate(NAME, copied, r=[0, 2, 4], batch_size=2, output=tmp_path / "killed")
    found = read_results(tmp_path / "killed")
    assert figures(found) == figures(whole)
    assert [result.failed for result in found] == [result.failed for result in whole]
    for ids, _ in all_scores(tmp_path / "killed"):
        assert len(ids) == len(set(ids)) == 21
    assert same_scores(all_scores(tmp_path / "killed"), all_scores(tmp_path / "whole"))
    assert [len(list(folder.glob("*.npz"))) for folder in (tmp_path / "killed" / "scores").iterdir()] == [1, 1, 1]


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
    assert len(decoded) == len(set(decoded)) == 22
    assert [(result.limit, result.n_scored) for result in read_results(tmp_path)] == [(10, 10), (None, 22)]


def test_a_damaged_file_of_results_is_refused_before_anything_is_decoded(tiny_zoo, tmp_path, decoded):
    (tmp_path / "results.jsonl").write_text('{"model": "m"}\n')
    with pytest.raises(DataError, match=r"results.jsonl, line 1.*field r"):
        evaluate(NAME, tiny_zoo / "image", output=tmp_path)
    assert decoded == []


def test_another_summary_of_a_protocol_keeps_the_scores(tiny_zoo, tmp_path, decoded):
    """Its words say nothing of how it scores; its views do."""
    rule = cards.protocol_card("image_center_crop")
    evaluate(NAME, tiny_zoo / "image", protocol=rule, output=tmp_path)
    evaluate(NAME, tiny_zoo / "image", protocol=rule.model_copy(update={"summary": "In other words."}), output=tmp_path)
    assert len(decoded) == 22
    evaluate(NAME, tiny_zoo / "image", protocol=rule.model_copy(update={"version": 9}), output=tmp_path)
    assert len(decoded) == 44


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
    assert sorted(decoded) == sorted(path.name for path in (tiny_zoo / "image" / "val").rglob("*.png"))
    assert result.n_scored == 22
    assert result.batch_size == 5
    ids, _ = all_scores(tmp_path)[0]
    assert len(ids) == len(set(ids)) == 22


def test_a_damaged_shard_is_computed_again(tiny_zoo, tmp_path, caplog):
    (first,) = evaluate(NAME, tiny_zoo / "image", output=tmp_path)
    (shard,) = next((tmp_path / "scores").iterdir()).glob("*.npz")
    shard.write_bytes(shard.read_bytes()[:200])
    (again,) = evaluate(NAME, tiny_zoo / "image", output=tmp_path)
    assert "damaged shard" in caplog.text
    assert figures([again]) == figures([first])


def test_other_weights_and_dtypes_never_mix_and_a_copy_of_the_data_goes_on(tiny_zoo, copied, tmp_path):
    model = create_model(NAME, pretrained=True)
    evaluate(model, tiny_zoo / "image", output=tmp_path / "out")
    model.head.bias.data += 1
    evaluate(model, tiny_zoo / "image", output=tmp_path / "out")
    evaluate(model, copied, output=tmp_path / "out")
    evaluate(model, copied, output=tmp_path / "out", dtype="bfloat16")
    assert len(list((tmp_path / "out" / "scores").iterdir())) == 3
    assert len({result.key for result in read_results(tmp_path / "out")}) == 3


def test_speed_is_stated_with_what_it_was_measured_on(tiny_zoo, tmp_path):
    """A run that computes nothing states the batch size of the run that did, not its own."""
    (first,) = evaluate(NAME, tiny_zoo / "image", batch_size=4, output=tmp_path)
    (tmp_path / "results.jsonl").unlink()
    (again,) = evaluate(NAME, tiny_zoo / "image", batch_size=11, output=tmp_path)
    assert (again.batch_size, again.samples_per_second) == (4, first.samples_per_second)
    assert again.peak_memory == first.peak_memory


def test_a_file_replaced_while_it_is_scored_is_scored_anew(copied, tmp_path, monkeypatch):
    """The stamp is that of what was read, whatever lies there when the scores are written."""
    module, path = modalities.get("image"), copied / "val" / "ant" / "4.png"
    read = module.read

    def swap(file, spec):
        media = read(file, spec)
        if file == path:
            shutil.copy(copied / "val" / "dog" / "3.png", path)
        return media

    monkeypatch.setattr(module, "read", swap)
    evaluate(NAME, copied, output=tmp_path / "out")
    monkeypatch.setattr(module, "read", read)
    (result,) = evaluate(NAME, copied, output=tmp_path / "out")
    ids, rows = all_scores(tmp_path / "out")[0]
    assert result.n_scored == 22
    np.testing.assert_allclose(rows[ids.index("ant/4.png")], rows[ids.index("dog/3.png")], atol=1e-5)


def test_an_r_that_gives_no_scores_hinders_no_other(tiny_zoo, tmp_path):
    model = create_model(NAME, pretrained=True)
    model.register_forward_hook(lambda module, _, output: output * float("nan") if module.r == 0 else output)
    with pytest.raises(DataError, match="all 22 failed at r = 0"):
        evaluate(model, tiny_zoo / "image", r=[0, 2], output=tmp_path)
    assert [(result.r, result.n_scored) for result in read_results(tmp_path)] == [("2", 22)]


def test_a_copy_of_the_data_elsewhere_is_gone_on_with(tiny_zoo, tmp_path):
    """By ids, sizes and content; one that is another of the same size is scored anew."""
    evaluate(NAME, tiny_zoo / "image", r=[0], output=tmp_path / "out")
    shutil.copytree(tiny_zoo / "image", tmp_path / "moved", copy_function=shutil.copy)
    seen = []
    evaluate(NAME, tmp_path / "moved", r=[0], output=tmp_path / "out", progress=lambda *done: seen.append(done))
    assert seen == []
