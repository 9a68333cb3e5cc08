"""Ranks that meet at the start: for whom they wait, how long, and which variables they heed."""

import signal

import pytest

from tome_zoo.system import distributed

WAITING = """
import logging, sys
from tome_zoo.system import distributed, rendezvous

rendezvous.TOLD_AFTER, rendezvous.PATIENCE = map(float, sys.argv[1:])
rendezvous.AGENT_PATIENCE = 0.1
try:
    with distributed.process_group() as rank:
        print("stands", distributed.all_gather(rank.rank), flush=True)
except distributed.TomeZooError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rank_that_waits_says_for_whom_and_hears_signals(start_python, free_port, rank, number):
    """Rank 1 has not even rank 0 to connect to."""
    ranks = {"RANK": rank, "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    process = start_python("-c", WAITING, "0.2", "600", **ranks)
    line = process.stderr.readline()
    assert ("waits for ranks 1 2" if rank == "0" else "waits for rank 0") in line
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number


def test_waiting_for_ranks_ends(start_python, free_port):
    ranks = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    out, err = start_python("-c", WAITING, "99", "0.5", **ranks).communicate(timeout=120)
    assert "for rank 1" in out
    assert "unset RANK WORLD_SIZE" in out
    assert "Traceback" not in err


def test_a_rank_whose_torchrun_died_before_it_came_does_not_wait_for_others(start_python, free_port):
    ranks = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    process = start_python("-c", WAITING, "99", "600", TORCHELASTIC_USE_AGENT_STORE="True", **ranks)
    assert "cannot reach rank 0" in process.communicate(timeout=120)[0]


def test_ranks_started_by_hand_meet(start_python, free_port):
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    both = [start_python("-c", WAITING, "99", "99", RANK=str(rank), **ranks) for rank in range(2)]
    for process in both:
        assert process.communicate(timeout=120)[0] == "stands [0, 1]\n"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, "2 of 4 processes by SLURM_PROCID, which is ignored"),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "8"}, "OMPI_COMM_WORLD_RANK, which is ignored"),
        ({"RANK": "0", "WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but"),
        ({"RANK": "", "WORLD_SIZE": "two", "LOCAL_RANK": "-1"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "LOCAL_RANK": "3"}, None),
    ],
)
def test_variables_that_others_left_are_not_heeded_and_said_to_be(monkeypatch, caplog, environment, message):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with distributed.process_group() as rank:
        assert rank == (0, 1, 0, 1)
    assert (message or "") in caplog.text
    assert bool(caplog.text) == (message is not None)
