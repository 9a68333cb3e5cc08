"""Several processes on one evaluation give what one gives, for any number of samples, whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tome_zoo import distributed, evaluate
from tome_zoo.ledger import read_scores
from tome_zoo.results import read_results

NAME = "tiny_image.test"


def torchrun(n, tiny_zoo, output, *options, **popen):
    """The command line under torchrun; options are added to `eval`."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n), "--standalone",
        "-m", "--", "tome_zoo.cli", "eval", NAME, "--data", str(tiny_zoo / "image"), "--cards", str(tiny_zoo / "cards"),
        "--output", str(output), "--r", "0", "--r", "3", "--batch-size", "2", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, text=True, env=environment, **popen)


def result_of(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def figures(results):
    return [(r.r, r.top1, r.top5, r.n_expected, r.n_scored, r.n_failed, r.key) for r in results]


def scores(output):
    return [read_scores(folder) for folder in sorted((output / "scores").iterdir())]


@pytest.mark.parametrize(("n", "limit"), [(2, 21), (3, 2)])
def test_ranks_give_what_one_process_gives(tiny_zoo, tmp_path, n, limit):
    """For a count of samples that the ranks do not divide, and for fewer samples than ranks."""
    process = torchrun(
        n, tiny_zoo, tmp_path / "many", "--json", "--limit", str(limit), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    code, out, err = result_of(process)
    assert code == 0, err
    evaluate(NAME, tiny_zoo / "image", r=[0, 3], batch_size=2, limit=limit, output=tmp_path / "one")
    many, one = read_results(tmp_path / "many"), read_results(tmp_path / "one")
    assert figures(many) == figures(one)
    assert [result.ranks for result in many] == [n, n]
    assert len(json.loads(out)) == 2, "one rank prints"
    for (ids, rows), (other_ids, other_rows) in zip(scores(tmp_path / "many"), scores(tmp_path / "one"), strict=True):
        assert ids == other_ids
        assert len(ids) == len(set(ids)) == limit
        np.testing.assert_allclose(rows, other_rows, atol=1e-6)


DYING = """
import os, signal, sys
import tome_zoo
from tome_zoo import evaluation
cards, data, output = sys.argv[1:]
tome_zoo.register_cards(cards)

def die(done, total):
    if os.environ["RANK"] == "1" and done >= 4:
        os.kill(os.getpid(), signal.SIGKILL)

evaluation.evaluate("tiny_image.test", data, r=[0, 3], batch_size=2, output=output, flush_seconds=0.0, progress=die)
"""


def test_a_rank_that_dies_loses_nothing_that_was_written(tiny_zoo, tmp_path):
    """Rank 1 is killed; one process goes on from what both have left, to the figures of an undisturbed run."""
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    arguments = [str(tiny_zoo / "cards"), str(tiny_zoo / "image"), str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([*command, *arguments], env=environment, capture_output=True, timeout=240, check=False)
    assert process.returncode != 0
    assert not (tmp_path / "out" / "results.jsonl").exists()
    left = [len(ids) for ids, _ in scores(tmp_path / "out")]
    assert min(left) >= 4
    evaluate(NAME, tiny_zoo / "image", r=[0, 3], batch_size=2, output=tmp_path / "out")
    evaluate(NAME, tiny_zoo / "image", r=[0, 3], batch_size=2, output=tmp_path / "one")
    assert figures(read_results(tmp_path / "out")) == figures(read_results(tmp_path / "one"))


def test_a_mistake_ends_all_ranks_with_one_message(tiny_zoo, tmp_path):
    process = torchrun(2, tiny_zoo, tmp_path, "--protocol", "nonsense", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    code, _, err = result_of(process)
    assert code != 0
    assert "'nonsense'" in err


def test_a_terminated_run_keeps_its_scores(tiny_zoo, tmp_path):
    """SIGTERM, as a cluster sends before it kills: what was computed is written, the exit code is Ctrl-C's."""
    slow = (
        "import time; from tome_zoo import cli, modalities; image = modalities.get('image'); read = image.read\n"
        "def wait(path, spec):\n    time.sleep(0.1); print('reading', flush=True); return read(path, spec)\n"
        "image.read = wait; cli.main()"
    )
    command = [
        sys.executable, "-c", slow, "eval", NAME, "--data", str(tiny_zoo / "image"), "--cards", str(tiny_zoo / "cards"),
        "--output", str(tmp_path), "--r", "0", "--batch-size", "2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(7):
        process.stdout.readline()
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in " ".join(err.split())
    ((ids, _),) = scores(tmp_path)
    assert 2 <= len(ids) < 22


def test_alone_everyone_is_this_process():
    with distributed.group(on_gpu=False) as here:
        assert (here.rank, here.world) == (0, 1)
        assert distributed.everyones("a") == distributed.at_first("a") == ["a"]
        assert distributed.of_first("a") == "a"
