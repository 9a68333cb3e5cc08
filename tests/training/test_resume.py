"""Runs that were killed go on as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tome_zoo import train
from tome_zoo.errors import CheckpointError, TomeZooError

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from tome_zoo import train
for output in sys.argv[2:]:
    train("demo_image.shapes", sys.argv[1], output=output, resume=True, epochs=4, batch_size=5, accum=2, workers=0,
          log_steps=1, evaluations=2, eval_limit=4, eval_r=[0], drop_path=0.1, mixup=0.8, mixup_mode="elem",
          checkpoint_steps=2, architecture={"embed_dim": 24, "depth": 2, "num_heads": 2})
"""


def lines(output):
    path = output / "history.jsonl"
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [(line["step"], line["loss"], line["lr"], line["r"]) for line in found if "loss" in line]


def start(root, *outputs):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), *map(str, outputs)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.fixture(scope="module")
def whole(demo_roots, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    process = start(demo_roots["shapes"], output)
    assert process.wait(300) == 0
    return output


def test_killed_at_five_moments_it_ends_with_the_same_losses_and_weights(demo_roots, tmp_path, whole):
    output = tmp_path / "run"
    seen = set()
    for moment in (1, 2, 3, 5, 7):  # steps in the history when it is killed
        process = start(demo_roots["shapes"], output)
        while process.poll() is None and len(lines(output)) < moment:
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(len(lines(output)))
    assert len(seen) >= 2
    process = start(demo_roots["shapes"], output)
    assert process.wait(300) == 0
    assert len(lines(output)) == 8
    assert lines(output) == lines(whole)
    one, other = (load_file(path / "model" / "model.safetensors") for path in (output, whole))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_another_run_does_not_mix_with_it(demo_roots, whole):
    options = {"workers": 0, "batch_size": 5, "accum": 2, "architecture": {"embed_dim": 24, "depth": 2, "num_heads": 2}}
    with pytest.raises(TomeZooError, match="holds a run already"):
        train("demo_image.shapes", demo_roots["shapes"], output=whole, epochs=4, **options)
    with pytest.raises(CheckpointError, match=r"other settings.*seed was 0, is 9"):
        train("demo_image.shapes", demo_roots["shapes"], output=whole, epochs=4, resume=True, seed=9, **options)


def test_the_last_checkpoints_stay(whole):
    assert [path.name for path in sorted((whole / "checkpoints").iterdir())] == ["00000006.pt", "00000008.pt"]
    assert (whole / "best.safetensors").exists()


def test_a_damaged_checkpoint_is_named(demo_roots, whole, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    content = (whole / "checkpoints" / "00000006.pt").read_bytes()
    (folder / "00000006.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"00000006\.pt: a damaged checkpoint"):
        train("demo_image.shapes", demo_roots["shapes"], output=tmp_path / "run", resume=True)
