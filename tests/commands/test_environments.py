"""Every command in every environment that a cluster, a container, a notebook or a log leaves it in.

A process for each environment runs all commands in turn, from a folder in which nobody can write. By default all
environments come at once and the commands that take longest are left out; `pytest -m slow` runs each by itself. What
needs a limit of the file system sets it for its process alone: nothing here needs rights.
"""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

DRIVER = """
import json, os, sys, traceback
import pwd
if os.environ.pop("NOBODY", None):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")
    pwd.getpwuid = unknown
os.chdir(sys.argv[1])
from tome_zoo.commands import app
codes = {}
for name, arguments in json.loads(sys.argv[2]).items():
    if name == "explore":  # until it serves; then as by SIGTERM
        from tome_zoo.app import serve
        import gradio
        gradio.Blocks.block_thread = lambda blocks: None
    try:
        app.app(arguments, prog_name="tome-zoo")
        codes[name] = 0
    except SystemExit as end:
        codes[name] = end.code or 0
    except BaseException:
        traceback.print_exc()
        codes[name] = "traceback"
    sys.stdout.flush()
with open(sys.argv[3], "w") as file:
    json.dump(codes, file)
"""

CLEAN = {
    name: os.environ[name]
    for name in ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "SYSTEMROOT")
    if name in os.environ
}
NOTEBOOK = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline", "JPY_PARENT_PID": "1", "TERM": "xterm-color",
    "CLICOLOR": "1", "COLUMNS": "80", "RANK": "0", "WORLD_SIZE": "4",
}  # fmt: skip
SCHEDULER = {
    "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "LOCAL_RANK": "3", "MASTER_PORT": "29500",
}  # fmt: skip


def torch_needs_a_name() -> bool:
    """Whether this torch (2.11) cannot be imported by a user without a name, as containers have them."""
    from torch._inductor.runtime import cache_dir_utils

    with mock.patch.object(getpass, "getuser", side_effect=KeyError("uid not found")):
        try:
            cache_dir_utils.default_cache_dir()
        except KeyError:
            return True
    return False


ENVIRONMENTS = {
    "no home": {},
    "a home that is not there": {"HOME": "/nowhere/at/all"},
    "an unknown user": {} if torch_needs_a_name() else {"NOBODY": "1"},
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "what a notebook left": NOTEBOOK,
    "what a scheduler left": SCHEDULER,
    "colours forced in a log": {"FORCE_COLOR": "1", "COLUMNS": "80"},
}
ALL_AT_ONCE = {name: text for variables in ENVIRONMENTS.values() for name, text in variables.items()}
UNWRITABLE = "/proc/self" if os.path.isdir("/proc/self") else "/"
LONG = ("demo", "explore")


@pytest.fixture(scope="module")
def tables(tiny_root, tmp_path_factory):
    """Called, gives name -> arguments; all write into one new folder. `own` is a model that `train` has made."""

    def make():
        folder = tmp_path_factory.mktemp("environments")
        (folder / "classes").mkdir()
        for split in ("train", "val"):
            (folder / "classes" / split).symlink_to(tiny_root / "image" / "val")
        image = next((tiny_root / "image").rglob("*.png"))
        out, base = folder / "out", ["--cards", tiny_root / "cards"]
        data, own = ["--data", tiny_root / "image"], ["--cards", folder / "run" / "model"]
        classes = ["--data", folder / "classes"]
        table = {
            "help": ["--help"],
            "list": ["list", *base],
            "info": ["info", "tiny_image.test", *base],
            "predict": ["predict", "tiny_image.test", image, *base],
            "show": ["show", "tiny_image.test", image, *base, "-o", folder / "groups.png"],
            "check-data": ["check-data", "tiny_image.test", *data, *base, "--workers", "0"],
            "eval": ["eval", "tiny_image.test", *data, *base, "--output", out, "--r", "0", "--limit", "2"],
            "report": ["report", out, *base, "--plot", folder / "plot.png", "-o", folder / "page.html"],
            "predictions": ["predictions", out, *base],
            "predictions, by class": ["predictions", out, *base, "--per-class"],
            "embed": ["embed", "tiny_image.test", *data, *base, "-o", folder / "features.npz"],
            "bench": ["bench", "tiny_image.test", *base, "--r", "2", "--rounds", "1", "--output", folder / "bench"],
            "fetch": ["fetch", "tiny_image.test", *base],
            "train": [
                "train", "tiny_image.test", *base, *classes, "--dataset", "image_folder", "--epochs", "1",
                "--batch-size", "11", "--workers", "0", "--name", "own.test", "--output", folder / "run",
            ],
            "info, own": ["info", "own.test", *own],
            "eval, own": ["eval", "own.test", *classes, *own, "--output", folder / "own", "--r", "0", "--r", "2"],
            "predict, own": ["predict", "own.test", image, *own, "--json"],
            "report, own": ["report", folder / "own", *own, "-o", folder / "own.html"],
            "bench, own": ["bench", "own.test", *own, "--rounds", "1"],
            "show, own": ["show", "own.test", image, *own, "-o", folder / "own.png"],
            "eval, own weights": [
                "eval", "tiny_image.test", *classes, *base, "--weights", folder / "run" / "model" / "model.safetensors",
                "--output", folder / "weights", "--r", "0",
            ],
            "eval, where nothing can be written": ["eval", "tiny_image.test", *data, *base, "--r", "0", "--limit", "2"],
            "demo": ["demo", "--output", folder / "demo"],
            "explore": ["explore", "--no-open", "--device", "cpu"],
        }  # fmt: skip
        return {name: [str(item) for item in arguments] for name, arguments in table.items()}

    return make


def run(commands, tmp_path, environment, folder=UNWRITABLE):
    told = tmp_path / "codes.json"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, folder, json.dumps(commands), str(told)],
        capture_output=True, env={**CLEAN, "PYTHONPATH": os.pathsep.join(sys.path), **environment}, check=False,
    )  # fmt: skip
    assert told.exists(), done.stderr.decode(errors="replace")
    return json.loads(told.read_text()), done.stdout, done.stderr.decode(errors="replace")


def check(commands, tmp_path, environment):
    codes, out, err = run(commands, tmp_path, environment)
    expected = dict.fromkeys(commands, 0)
    if UNWRITABLE != "/":
        expected["eval, where nothing can be written"] = 2
        assert "runs" in next(line for line in err.splitlines() if line.startswith("error: "))
    assert codes == expected, err[-3000:]
    assert "Traceback" not in err
    assert "━" not in err, "no progress bars in a log"
    assert max(map(len, out.decode(errors="replace").splitlines())) > 80, "a log has no 80 columns"
    folders = [commands[name][commands[name].index("--output") + 1] for name in ("eval, own", "eval, own weights")]
    scores = [json.loads(Path(folder, "results.jsonl").read_text().splitlines()[0]) for folder in folders]
    assert scores[0]["weights"] == scores[1]["weights"], "by its card, and as a file for the model that it was made of"
    assert scores[0]["top1"] == scores[1]["top1"]
    assert all(f'"label": "{name}"' in out.decode(errors="replace") for name in ("ant", "bee", "cow", "dog"))


def test_every_command_works_in_all_environments_at_once(tables, tmp_path):
    """Among them all that one's own classes need after `train`, with nothing else said."""
    check({name: arguments for name, arguments in tables().items() if name not in LONG}, tmp_path, ALL_AT_ONCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_command_works_in_every_environment(tables, tmp_path, name):
    check(tables(), tmp_path, ENVIRONMENTS[name])


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))  # bytes of a file: as a disk that is full
from tome_zoo.commands import app
app.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_is_named_and_the_same_command_goes_on(tmp_path, tiny_root):
    """With `~` in every path, as shells leave it in `--option=~/folder`."""
    for name in ("image", "cards"):
        (tmp_path / name).symlink_to(tiny_root / name)
    arguments = ["eval", "tiny_image.test", "--data=~/image", "--cards=~/cards", "--output=~/out", "--r=0", "--limit=2"]
    # no bytecode: Python 3.11 leaves a short .pyc where a file may not grow, and every later process fails on it
    home = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, check=False,
        env={**CLEAN, "PYTHONPATH": os.pathsep.join(sys.path), **home},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert str(tmp_path / "out") in done.stderr.replace("\n", "")
    assert "the same command goes on" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    table = {"eval": arguments, "report": ["report", "~/out", "--cards", "~/cards"]}
    codes, _, err = run(table, tmp_path, home, folder="/")
    assert codes == {"eval": 0, "report": 0}, err
    assert (tmp_path / "out" / "results.jsonl").exists()
