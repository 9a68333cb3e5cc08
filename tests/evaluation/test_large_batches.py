"""Batches of hundreds of views with processes that decode, in the limits of a container."""

import json
import os
import shutil
import subprocess
import sys

import pytest

LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from tome_zoo.commands import app
app.main()
"""
IN_64_MB = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [512, 1024])
def test_hundreds_of_views_need_few_files_and_little_shared_memory(tiny_zoo, tmp_path, batch_size):
    """1,024 open files, and 64 MB of shared memory where the test may mount them: of views there are 12 to 25 MB."""
    for path in (tiny_zoo / "image" / "val").rglob("*.png"):
        for copy in range(50):
            place = tmp_path / "data" / "val" / path.parent.name / f"{copy}-{path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    command = [
        sys.executable, "-c", LIMITED, "eval", "tiny_image.test", "--cards", tiny_zoo / "cards", "--r", "0", "--json",
        "--data", tmp_path / "data", "--output", tmp_path / "out", "--batch-size", batch_size, "--workers", "2",
        "--set", "img_size=64",
    ]  # fmt: skip
    if shm := os.getuid() == 0 and shutil.which("unshare") is not None:
        command = ["unshare", "--mount", "sh", "-c", IN_64_MB, "sh", *command]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["n_scored"], result["batch_size"]) == (1100, batch_size)
    if not shm:
        pytest.skip("passed, but only root can limit shared memory")
