"""Ranks that wait for each other: however long they work, not for ever, and never deaf."""

import signal

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
def two_ranks(start_python, free_port):
    """What rank 1 does, and how long a rank may be silent and idle -> both processes."""

    def start(what, silence, idleness):
        ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
        return [start_python("-c", SCRIPT, what, silence, idleness, RANK=str(rank), **ranks) for rank in range(2)]

    return start


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


ENDING = """
import atexit, threading
atexit.register(lambda: print([thread.name for thread in threading.enumerate()], flush=True))  # the last one called

import torch.distributed as dist
from tome_zoo.system import distributed

dist.init_process_group("gloo")
with distributed.process_group() as rank:
    distributed.all_gather(rank.rank)
print([thread.name for thread in threading.enumerate()], flush=True)
dist.destroy_process_group()
"""


def test_signs_of_life_end_before_python_does(start_python, free_port):
    """A thread that is in the store when Python ends aborts the process; here in a group of the user's own."""
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    for process in [start_python("-c", ENDING, RANK=str(rank), **ranks) for rank in range(2)]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        before, after = out.splitlines()
        assert "tome-zoo rank" in before
        assert "tome-zoo rank" not in after
