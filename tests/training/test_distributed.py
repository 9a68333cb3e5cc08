"""Several processes train as one does.

By SGD with momentum: Adam divides by the size of the gradient, and makes rounding errors of the keys' biases, whose
gradient is zero in exact arithmetic, as large as its steps.
"""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from tome_zoo import train
root, output, batch_size, *flags = sys.argv[1:]
train("demo_image.shapes", root, output=output, epochs=2, batch_size=int(batch_size), accum=2, workers=0, r=20,
      log_steps=1, evaluations=1, eval_r=[20], eval_limit=4, ema_decay=0.0 if "fsdp" in flags else 0.9,
      fsdp="fsdp" in flags, optimizer="momentum", tensor_augment=(),
      architecture={"embed_dim": 24, "depth": 2, "num_heads": 2})
"""


def run(processes, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = arguments[0].parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, *(launcher if processes > 1 else []), script, *map(str, arguments[1:])]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


def weights(output):
    return load_file(output / "model" / "model.safetensors")


def test_two_processes_equal_one_with_the_whole_batch(demo_roots, tmp_path):
    root = demo_roots["shapes"]
    run(1, tmp_path / "x", root, tmp_path / "one", 10)
    run(2, tmp_path / "x", root, tmp_path / "two", 5)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(value, two[key], atol=1e-6, rtol=0) for key, value in one.items())


@pytest.mark.slow
def test_a_sharded_model_equals_one_that_is_not(demo_roots, tmp_path):
    root = demo_roots["shapes"]
    run(2, tmp_path / "x", root, tmp_path / "sharded", 5, "fsdp")
    script = SCRIPT.replace('fsdp="fsdp" in flags', "fsdp=False")
    assert script != SCRIPT
    (tmp_path / "plain.py").write_text(script)
    subprocess.run(
        [sys.executable, tmp_path / "plain.py", root, tmp_path / "plain", "10", "fsdp"], check=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    one, two = weights(tmp_path / "sharded"), weights(tmp_path / "plain")
    assert all(torch.allclose(value, two[key], atol=1e-5, rtol=0) for key, value in one.items())
