"""The order in which steps are called, what is done about those that fail, and the statistics."""

import logging

import numpy as np
import pytest
import torch

from tome_zoo.benchmark import timing
from tome_zoo.errors import ScheduleError

CPU = torch.device("cpu")


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_each_round_begins_with_another_one(n):
    calls = []
    steps = [lambda index=index: calls.append(index) for index in range(n)]
    timings = timing.time_in_turn(steps, CPU, rounds=7)
    assert calls[: 3 * n] == [*range(n)] * 3  # first call, memory, warm-up
    rounds = [calls[i : i + n] for i in range(3 * n, len(calls), n)]
    assert rounds == [[(turn + i) % n for i in range(n)] for turn in range(7)]
    assert [len(timing.seconds) for timing in timings] == [7] * n


def test_rounds_fill_the_time_given_and_are_at_least_three():
    assert len(timing.time_in_turn([lambda: None], CPU, seconds=1e-9)[0].seconds) == 3
    assert len(timing.time_in_turn([lambda: None], CPU, seconds=0.05)[0].seconds) > 3


def failing(error, after=0):
    calls = []

    def step():
        calls.append(None)
        if len(calls) > after:
            raise error

    return step, calls


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
def test_one_that_fails_is_left_out_and_the_others_go_on(after):
    step, calls = failing(torch.OutOfMemoryError("too large\nmore"), after)
    good, bad = timing.time_in_turn([lambda: None, step], CPU, rounds=4)
    assert (bad.status, bad.reason, bad.seconds) == ("out of memory", "too large", [])
    assert len(calls) == after + 1
    assert good.ok
    assert len(good.seconds) == 4
    assert timing.ratios(bad, good) == []


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "out of memory", "9 bytes"),
        (MemoryError(), "out of memory", ""),
        (ScheduleError("too long"), "refused", "too long"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
        (RuntimeError(), "failed", "RuntimeError: "),
    ],
)
def test_failures_are_told_apart(error, status, reason):
    found = timing.status_and_reason(error)
    assert found[0] == status
    assert reason in found[1]


def test_a_run_in_which_all_fail_ends():
    step, _ = failing(RuntimeError("no"), after=4)
    assert [timing.status for timing in timing.time_in_turn([step], CPU, seconds=60)] == ["failed"]


def test_an_interruption_is_not_swallowed():
    step, _ = failing(KeyboardInterrupt(), after=4)
    with pytest.raises(KeyboardInterrupt):
        timing.time_in_turn([step], CPU, rounds=9)


def test_statistics_against_numpy():
    values = list(np.random.default_rng(0).exponential(size=23))
    ordered = np.sort(values)
    assert timing.median(values) == ordered[11]
    assert timing.spread(values) == pytest.approx((np.percentile(values, 75) - np.percentile(values, 25)) / ordered[11])
    over, under = timing.StepTiming(seconds=[2.0, 6.0]), timing.StepTiming(seconds=[1.0, 2.0])
    assert timing.ratios(over, under) == [2.0, 3.0]


def test_a_failure_can_be_looked_into(caplog):
    step, _ = failing(RuntimeError("deep inside"))
    with caplog.at_level(logging.DEBUG, logger="tome_zoo.benchmark.timing"):
        timing.time_in_turn([step], CPU, rounds=1)
    assert "deep inside" in caplog.text
