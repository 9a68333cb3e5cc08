"""Every command in every environment that a cluster, a container, a notebook or a log leaves it in.

A process for each environment runs all commands in turn; what needs a file system limit sets it for that process alone.
"""

import json
import os
import subprocess
import sys

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
ENVIRONMENTS = {
    "no home": {},
    "a home that is not there": {"HOME": "/nowhere/at/all"},
    "an unknown user": {"NOBODY": "1"},
    "ascii": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "what a notebook left": NOTEBOOK,
    "what a scheduler left": SCHEDULER,
    "colours forced in a log": {"FORCE_COLOR": "1", "COLUMNS": "80"},
}


@pytest.fixture(scope="module")
def commands(tiny_root, tmp_path_factory):
    """Name -> arguments; all write into one folder."""
    folder = tmp_path_factory.mktemp("environments")
    image = next((tiny_root / "image").rglob("*.png"))
    out, base = folder / "out", ["--cards", tiny_root / "cards"]
    data = ["--data", tiny_root / "image"]
    table = {
        "help": ["--help"],
        "list": ["list", *base],
        "info": ["info", "tiny_image.test", *base],
        "predict": ["predict", "tiny_image.test", image, *base],
        "check-data": ["check-data", "tiny_image.test", *data, *base, "--workers", "0"],
        "eval": ["eval", "tiny_image.test", *data, *base, "--output", out, "--r", "0", "--limit", "2"],
        "report": ["report", out, *base, "--plot", folder / "plot.png"],
        "predictions": ["predictions", out, *base],
        "bench": ["bench", "tiny_image.test", *base, "--r", "2", "--rounds", "1"],
        "fetch": ["fetch", "tiny_image.test", *base],
    }
    return {name: [str(item) for item in arguments] for name, arguments in table.items()}


def run(commands, tmp_path, environment, folder="/"):
    told = tmp_path / "codes.json"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, folder, json.dumps(commands), str(told)],
        capture_output=True, env={**CLEAN, "PYTHONPATH": os.pathsep.join(sys.path), **environment}, check=False,
    )  # fmt: skip
    assert told.exists(), done.stderr.decode(errors="replace")
    return json.loads(told.read_text()), done.stdout, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_command_works(commands, tmp_path, name):
    codes, out, err = run(commands, tmp_path, ENVIRONMENTS[name])
    assert codes == dict.fromkeys(commands, 0), err[-3000:]
    assert "Traceback" not in err
    if name == "colours forced in a log":
        longest = max(map(len, out.decode().splitlines()))
        assert longest > 80, "a log has no 80 columns"
        assert "━" not in err, "no progress bars in a log"


def test_a_tilde_is_the_home_in_any_path(commands, tmp_path, tiny_root):
    (tmp_path / "cards").symlink_to(tiny_root / "cards")
    (tmp_path / "image").symlink_to(tiny_root / "image")
    table = {
        "eval": [
            "eval",
            "tiny_image.test",
            "--data=~/image",
            "--cards=~/cards",
            "--output=~/out",
            "--r",
            "0",
            "--limit=2",
        ],
        "report": ["report", "~/out", "--cards", "~/cards"],
    }
    codes, _, err = run(table, tmp_path, {"HOME": str(tmp_path)})
    assert codes == {"eval": 0, "report": 0}, err
    assert (tmp_path / "out" / "results.jsonl").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a folder in which nobody can write")
def test_a_folder_in_which_nothing_can_be_written_is_named(commands, tmp_path):
    """Results go to ./runs unless told otherwise."""
    arguments = commands["eval"].copy()
    del arguments[arguments.index("--output") : arguments.index("--output") + 2]
    codes, _, err = run({"eval": arguments}, tmp_path, {}, folder="/proc/self")
    assert codes == {"eval": 2}
    assert "error: " in err
    assert "runs" in err
    assert "Traceback" not in err


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))  # bytes of a file: as a disk that is full
from tome_zoo.commands import app
app.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_is_named_and_the_same_command_goes_on(commands, tmp_path):
    arguments = [*commands["eval"], "--output", str(tmp_path / "out")]
    # no bytecode: Python 3.11 leaves a short .pyc where a file may not grow, and every later process fails on it
    environment = {**CLEAN, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2, done.stderr
    assert str(tmp_path / "out") in done.stderr.replace("\n", "")
    assert "the same command goes on" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    codes, _, err = run({"eval": arguments}, tmp_path, {})
    assert codes == {"eval": 0}, err
