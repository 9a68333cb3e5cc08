"""Ranks that wait for each other: however long they work, not for ever, and never deaf."""

import os
import signal
import socket
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys, time
from tome_zoo.system import distributed, waiting

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started deaf to it
waiting.BEAT, waiting.TOLD_AFTER = 0.1, 0.3
waiting.SILENCE, waiting.IDLENESS = map(float, sys.argv[2:])
with distributed.process_group() as rank:
    distributed.all_gather(rank.rank)  # importing takes some ranks longer than others
    if rank.rank == 1:
        print("meets", flush=True)
        if sys.argv[1] == "works":
            for _ in range(40):
                time.sleep(0.2)
                distributed.report_work()
        elif sys.argv[1] == "hangs":
            time.sleep(600)
        elif sys.argv[1] == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
    try:
        print(distributed.all_gather(rank.rank), flush=True)
    except (distributed.LostRankError, KeyboardInterrupt) as error:
        print(type(error).__name__, error, flush=True)
        os._exit(3)
"""


@pytest.fixture
def two_ranks():
    """What rank 1 does, and how long a rank may be silent and idle -> both processes; killed at the end."""
    started = []

    def start(what, silence, idleness):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            port = str(server.getsockname()[1])
        for rank in range(2):
            ranks = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            started.append(subprocess.Popen(
                [sys.executable, "-c", SCRIPT, what, str(silence), str(idleness)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **ranks},
            ))  # fmt: skip
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_rank_that_works_is_waited_for_whatever_the_limit(two_ranks):
    first, second = two_ranks("works", 30, 5)
    out, err = first.communicate(timeout=300)
    assert out == "[0, 1]\n"
    assert "rank 0 waits for rank 1" in err
    assert second.communicate(timeout=300)[0] == "meets\n[0, 1]\n"


@pytest.mark.parametrize(
    ("what", "limits", "said"),
    [("hangs", (60, 1), "lives, but has done nothing"), ("stopped", (1, 60), "no sign of life")],
)
def test_waiting_for_a_rank_that_hangs_or_has_gone_ends(two_ranks, what, limits, said):
    first, _ = two_ranks(what, *limits)
    out, err = first.communicate(timeout=300)
    assert out.startswith("LostRankError rank 1 ")
    assert said in out
    assert "Traceback" not in err
    assert first.returncode == 3


def test_a_rank_that_waits_hears_ctrl_c(two_ranks):
    first, second = two_ranks("hangs", 600, 600)
    assert second.stdout.readline() == "meets\n"
    assert "waits for rank 1" in first.stderr.readline()
    first.send_signal(signal.SIGINT)
    assert first.communicate(timeout=60)[0].startswith("KeyboardInterrupt")
