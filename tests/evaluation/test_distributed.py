"""Several processes on one evaluation give what one gives, for any number of samples, whoever dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tome_zoo import evaluate
from tome_zoo.evaluation.results import read_results
from tome_zoo.evaluation.score_store import read_scores
from tome_zoo.system import distributed

NAME = "tiny_image.test"


def torchrun(n, *command):
    """Exit code and what is printed of n ranks; whatever happens, none of them outlives the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n), "--standalone", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its ranks
        out, err = process.communicate()
    return process.returncode, out, err


def command_line(tiny_zoo, output, *options):
    """`eval` as torchrun takes it."""
    return [
        "--no-python", "--", sys.executable, "-m", "tome_zoo.commands.app", "eval", NAME, "--data", tiny_zoo / "image",
        "--cards", tiny_zoo / "cards", "--output", output, "--r", "0", "--r", "3", "--batch-size", "2", *options,
    ]  # fmt: skip


def figures(results):
    return [(r.r, r.top1, r.top5, r.n_expected, r.n_scored, r.n_failed, r.key) for r in results]


def scores(output):
    return [read_scores(folder) for folder in sorted((output / "scores").iterdir())]


def same_scores(one, other, count):
    for (ids, rows), (other_ids, other_rows) in zip(scores(one), scores(other), strict=True):
        assert len(ids) == len(set(ids)) == count
        assert ids == other_ids
        np.testing.assert_array_equal(rows, other_rows)
    return True


@pytest.fixture
def one_thread():
    """As many threads as a rank has, so that sums are taken in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("n", "limit"), [(2, 21), (3, 2)])
def test_ranks_give_what_one_process_gives(tiny_zoo, tmp_path, n, limit):
    """To the last bit, for a count of samples that the ranks do not divide, and for fewer samples than ranks."""
    code, out, err = torchrun(n, *command_line(tiny_zoo, tmp_path / "many", "--json", "--limit", limit))
    assert code == 0, err
    evaluate(NAME, tiny_zoo / "image", r=[0, 3], batch_size=2, limit=limit, output=tmp_path / "one")
    many, one = read_results(tmp_path / "many"), read_results(tmp_path / "one")
    assert figures(many) == figures(one)
    assert [result.ranks for result in many] == [n, n]
    assert len(json.loads(out)) == 2, "one rank prints"
    assert same_scores(tmp_path / "many", tmp_path / "one", limit)


DYING = """
import os, signal, sys
import tome_zoo

cards, data, output = sys.argv[1:]
tome_zoo.register_cards(cards)

def die(done, total):
    if os.environ["RANK"] == "1" and done >= 4:
        os.kill(os.getpid(), signal.SIGKILL)

tome_zoo.evaluate("tiny_image.test", data, r=[0, 3], batch_size=2, output=output, flush_seconds=0.0, progress=die)
"""


@pytest.mark.usefixtures("one_thread")
def test_a_rank_that_dies_loses_nothing_that_was_written(tiny_zoo, tmp_path):
    """Rank 1 is killed; one process goes on from what both have left, to the figures of an undisturbed run."""
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    code, _, _ = torchrun(2, script, tiny_zoo / "cards", tiny_zoo / "image", tmp_path / "out")
    assert code != 0
    assert not (tmp_path / "out" / "results.jsonl").exists()
    left = [len(ids) for ids, _ in scores(tmp_path / "out")]
    assert min(left) >= 4
    evaluate(NAME, tiny_zoo / "image", r=[0, 3], batch_size=2, output=tmp_path / "out")
    evaluate(NAME, tiny_zoo / "image", r=[0, 3], batch_size=2, output=tmp_path / "one")
    assert figures(read_results(tmp_path / "out")) == figures(read_results(tmp_path / "one"))
    assert same_scores(tmp_path / "out", tmp_path / "one", 22)


GONE = """
import os, signal, sys
from tome_zoo import modalities
from tome_zoo.commands import app
from tome_zoo.system import waiting

waiting.BEAT, waiting.SILENCE = 0.2, 10.0
image, reads = modalities.get("image"), []
def dying(path, spec, read=image.read):
    reads.append(path)
    if os.environ["RANK"] == "1" and len(reads) > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, spec)
image.read = dying
app.main()
"""


def test_a_rank_that_is_killed_is_a_line_for_the_others(tiny_zoo, tmp_path, start_python, free_port):
    """Ranks that nobody watches: started by hand, without torchrun."""
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    arguments = command_line(tiny_zoo, tmp_path)[5:]
    first, second = (start_python("-c", GONE, *arguments, RANK=str(rank), **ranks) for rank in range(2))
    _, err = first.communicate(timeout=300)
    assert first.returncode == 2
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert "rank 1 " in line or "another rank has ended" in line
    assert "the same command goes on" in line
    assert "Traceback" not in err
    second.communicate(timeout=60)
    assert second.returncode == -signal.SIGKILL


MACHINES = """
import platform, sys
from pathlib import Path
import torch.distributed as dist
import tome_zoo
from tome_zoo import modalities
from tome_zoo.errors import DataError

root = Path(sys.argv[1])
dist.init_process_group("gloo")
rank = dist.get_rank()
platform.node = lambda: f"machine{rank}"
tome_zoo.register_cards(sys.argv[2])
image, reads = modalities.get("image"), []
read = image.read
image.read = lambda path, spec: (reads.append(path), read(path, spec))[1]
options = {"r": [0, 3], "batch_size": 2, "output": root / f"out{rank}"}
results = tome_zoo.evaluate("tiny_image.test", root / f"data{rank}", **options)
assert [result.n_scored for result in results] == [22, 22], results
(root / f"reads{rank}").write_text(str(len(reads)))
try:
    tome_zoo.evaluate("tiny_image.test", root / (f"data{rank}" if rank == 0 else "nowhere"), **options)
except DataError as error:
    (root / f"error{rank}").write_text(str(error))
assert dist.is_initialized(), "a group that was there stays"
dist.destroy_process_group()
"""


@pytest.mark.usefixtures("one_thread")
def test_machines_with_data_and_output_of_their_own(tiny_zoo, tmp_path):
    """In a group that exists already: the second machine has scores of an earlier run, and files of another date.

    Nothing is computed twice, the first machine ends with all scores, and an error of the second is that of both.
    """
    for number in range(2):
        shutil.copytree(tiny_zoo / "image", tmp_path / f"data{number}", copy_function=shutil.copy)
    evaluate(NAME, tmp_path / "data1", r=[0, 3], batch_size=2, limit=10, output=tmp_path / "out1")
    script = tmp_path / "machines.py"
    script.write_text(MACHINES)
    code, _, err = torchrun(2, script, tmp_path, tiny_zoo / "cards")
    assert code == 0, err
    assert sum(int((tmp_path / f"reads{rank}").read_text()) for rank in range(2)) == 12
    assert (tmp_path / "error0").read_text() == (tmp_path / "error1").read_text()
    assert "nowhere" in (tmp_path / "error0").read_text()
    first = read_results(tmp_path / "out0")
    assert [(result.n_scored, result.n_failed, result.ranks) for result in first] == [(22, 0, 2)] * 2
    assert evaluate(NAME, tmp_path / "data0", r=[0, 3], batch_size=2, output=tmp_path / "out0") == first
    assert [len(ids) for ids, _ in scores(tmp_path / "out0")] == [22, 22]


def test_a_mistake_ends_all_ranks_with_one_message(tiny_zoo, tmp_path):
    code, _, err = torchrun(2, *command_line(tiny_zoo, tmp_path, "--protocol", "nonsense"))
    assert code != 0
    assert "'nonsense'" in err
    assert err.count("error: ") == 1, err


def test_a_terminated_run_keeps_its_scores(tiny_zoo, tmp_path):
    """SIGTERM, as a cluster sends before it kills: what was computed is written, the exit code is Ctrl-C's."""
    slow = (
        "import time; from tome_zoo import modalities; from tome_zoo.commands import app\n"
        "image = modalities.get('image'); read = image.read\n"
        "def wait(path, spec):\n    time.sleep(0.1); print('reading', flush=True); return read(path, spec)\n"
        "image.read = wait; app.main()"
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
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in " ".join(err.split())
    ((ids, _),) = scores(tmp_path)
    assert 2 <= len(ids) < 22


def test_alone_everyone_is_this_process():
    with distributed.process_group() as rank:
        assert (rank.rank, rank.world_size) == (0, 1)
        assert distributed.all_gather("a") == distributed.gather_to_rank0("a") == ["a"]
        assert distributed.broadcast("a") == "a"


DIFFERING = """
import os, sys
from pathlib import Path
import tome_zoo
from tome_zoo.errors import DataError

cards, data, output = sys.argv[1:]
rank = os.environ["RANK"]
tome_zoo.register_cards(cards)

for case in ("weights", "options", "data"):
    model, folder = tome_zoo.create_model("tiny_image.test", pretrained=True), data
    options = {"r": [0, 3], "batch_size": 2}
    if rank == "1" and case == "weights":
        model.head.bias.data[0] += 1
    elif rank == "1" and case == "options":
        options |= {"r": [0, 3, 4], "batch_size": 4}
    elif rank == "1":
        folder += "-less"
    try:
        tome_zoo.evaluate(model, folder, output=output, **options)
    except DataError as error:
        Path(f"{output}.{case}.rank{rank}").write_text(str(error))

for repeat in range(3):
    tome_zoo.evaluate("tiny_image.test", data, r=[0, 3], batch_size=2, output=output, flush_seconds=0.0)
    shards = list(Path(output, "scores").rglob("*.npz"))
    Path(f"{output}.size{repeat}.rank{rank}").write_text(f"{len(shards)} {sum(s.stat().st_size for s in shards)}")
"""


def test_ranks_that_differ_say_in_what_before_they_work(tiny_zoo, tmp_path):
    """Two ranks with other weights under one name would be averaged into one figure.

    Then they agree, three times: each brings what is its own alone, so that what is stored does not grow.
    """
    for name in ("data", "data-less"):
        shutil.copytree(tiny_zoo / "image", tmp_path / name)
    (tmp_path / "data-less" / "val" / "ant" / "0.png").unlink()
    script, out = tmp_path / "differing.py", tmp_path / "out"
    script.write_text(DIFFERING)
    code, _, err = torchrun(2, script, tiny_zoo / "cards", tmp_path / "data", out)
    assert code == 0, err
    for case, names in {"weights": ["weights"], "options": ["r", "batch size"], "data": ["data listing"]}.items():
        first, second = ((tmp_path / f"out.{case}.rank{rank}").read_text() for rank in range(2))
        assert first == second
        assert "at rank 0" in first
        assert "at rank 1" in first
        for name in names:
            assert f"{name} is " in first
    sizes = [(tmp_path / f"out.size{repeat}.rank0").read_text() for repeat in range(3)]
    assert sizes[0].startswith("2 ")
    assert sizes[0] == sizes[1] == sizes[2]
    assert [result.r for result in read_results(out)] == ["0", "3"]
