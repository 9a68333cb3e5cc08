"""A queue of evaluations that are killed at random and started again, two at a time, in one folder.

`pytest -m soak -s tests/evaluation/test_soak.py` runs it for TOME_ZOO_SOAK_SECONDS (an hour). A cycle is over when each
of the modalities has been left to finish: then its figures and scores must be those of an undisturbed run.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tome_zoo.evaluation.score_store import read_scores

SECONDS = float(os.environ.get("TOME_ZOO_SOAK_SECONDS", "3600"))
COPIES = {"image": 8, "video": 12, "audio": 12}  # of each file, so that there is something to interrupt
FIGURES = ("model", "r", "top1", "top5", "map", "n_expected", "n_scored", "n_failed", "gmacs", "key")

COMMAND = """
import sys, time
from tome_zoo import modalities
from tome_zoo.commands import app

wait = float(sys.argv.pop(1))
for name in ("image", "video", "audio"):
    module = modalities.get(name)
    def slow(path, spec, read=module.read):
        time.sleep(wait)
        return read(path, spec)
    module.read = slow
app.main()
"""


@pytest.fixture
def larger_zoo(tiny_zoo, tmp_path):
    """The data of the tiny zoo, each file several times under other names."""
    for path in (tiny_zoo / "image" / "val").rglob("*.png"):
        folder = tmp_path / "image" / "val" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(COPIES["image"]):
            shutil.copy(path, folder / f"{copy}-{path.name}")
    for kind in ("video", "audio"):
        (tmp_path / kind).mkdir()
        for copy in range(COPIES[kind]):
            for path in (tiny_zoo / kind).glob("*.mp4" if kind == "video" else "*.wav"):
                shutil.copy(path, tmp_path / kind / f"{copy}-{path.name}")
    lines = (tiny_zoo / "video" / "val.csv").read_text().splitlines()
    text = "".join(f"{copy}-{line}\n" for copy in range(COPIES["video"]) for line in lines)
    (tmp_path / "video" / "val.csv").write_text(text)
    entries = json.loads((tiny_zoo / "audio" / "val.json").read_text())["data"]
    entries = [{**entry, "wav": f"{copy}-{entry['wav']}"} for copy in range(COPIES["audio"]) for entry in entries]
    (tmp_path / "audio" / "val.json").write_text(json.dumps({"data": entries}))
    return tiny_zoo / "cards", tmp_path


class Queue:
    """Starts evaluations in one folder and ends most of them too early."""

    def __init__(self, cards, data, output, seed):
        self.cards, self.data, self.output = cards, data, output
        self.random = random.Random(seed)
        self.left = {"image", "video", "audio"}
        self.running = []
        self.counts = {"started": 0, "killed": 0, "finished": 0, "failed": 0}
        self.finished, self.faults = set(), []

    def start(self, kind, ranks, wait=0.02):
        command = [sys.executable, "-c", COMMAND, str(wait), "eval", f"tiny_{kind}.test", "--batch-size", "4"]
        command += ["--data", self.data / kind, "--cards", self.cards, "--output", self.output, "--r", "0", "--r", "2"]
        if ranks > 1:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"]
            command = [*launcher, "--no-python", "--", *command]
        self.counts["started"] += 1
        self.output.mkdir(exist_ok=True)
        with (self.output.parent / f"{self.output.name}-{self.counts['started']}.log").open("w") as file:
            process = subprocess.Popen(
                [*map(str, command)], stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        process.log = file.name
        return process

    def run(self, deadline):
        """Until each modality has finished once, or time is up."""
        while self.left and time.monotonic() < deadline:
            while len(self.running) < 2:
                kind, ranks = self.random.choice(sorted(self.left)), self.random.randint(1, 4)
                end = time.monotonic() + (1e9 if self.random.random() < 0.25 else self.random.uniform(1, 40))
                self.running.append((kind, ranks, self.start(kind, ranks), end))
            time.sleep(0.05)
            for item in list(self.running):
                if item[2].poll() is not None or time.monotonic() > item[3]:
                    self.running.remove(item)
                    self._end(*item)
        for kind, ranks, process, _ in self.running:
            self._end(kind, ranks, process, 0)
        self.running = []

    def _end(self, kind, ranks, process, end):
        killed = process.poll() is None
        if killed:
            number = self.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            target = os.killpg if self.random.random() < 0.7 or number == signal.SIGKILL else os.kill
            target(process.pid, number)
            self.counts["killed"] += 1
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.faults.append(f"{kind} with {ranks} ranks did not end within 120 s of a signal: {process.log}")
        if process.returncode == 0:
            self.counts["finished"] += 1
            self.left.discard(kind)
            self._require_lines(f"tiny_{kind}.test")
        elif not killed:
            self.counts["failed"] += 1
            self.faults.append(f"{kind} with {ranks} ranks exited with {process.returncode}: {process.log}")

    def _require_lines(self, model):
        lines = [json.loads(line) for line in (self.output / "results.jsonl").read_text().splitlines()]
        there = {(line["model"], line["r"]) for line in lines}
        self.finished |= {(model, "0"), (model, "2")}
        if lost := self.finished - there:
            self.faults.append(f"lines of finished runs are lost: {lost}")


def figures(output):
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    return {tuple(line.get(name) for name in FIGURES) for line in lines}


def size(output):
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def compare(output, whole):
    """Figures and scores, to the last bit."""
    assert figures(output) == figures(whole)
    for folder in (whole / "scores").iterdir():
        ids, rows = read_scores(folder)
        other_ids, other_rows = read_scores(output / "scores" / folder.name)
        assert ids == other_ids
        np.testing.assert_array_equal(rows, other_rows)


@pytest.mark.soak
def test_killed_evaluations_end_with_the_figures_of_undisturbed_ones(larger_zoo, tmp_path):
    cards, data = larger_zoo
    undisturbed = Queue(cards, data, tmp_path / "whole", 0)
    for kind in ("image", "video", "audio"):
        process = undisturbed.start(kind, 1, wait=0.0)
        assert process.wait(1200) == 0
    deadline, cycle = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        queue = Queue(cards, data, tmp_path / f"cycle{cycle}", cycle)
        queue.run(deadline)
        assert queue.faults == []
        if not queue.left:
            compare(queue.output, undisturbed.output)
            assert size(queue.output) < 3 * size(undisturbed.output)
        print(f"cycle {cycle}: {queue.counts}, left {sorted(queue.left)}, {size(queue.output)} bytes", flush=True)
        cycle += 1
    assert cycle > 1
