"""Every form of r: the paper's truncation, what is refused, and the text form."""

import numpy as np
import pytest

from tome_zoo.errors import ScheduleError
from tome_zoo.schedule import format as format_r
from tome_zoo.schedule import parse, resolve
from tome_zoo.transformer.macs import tokens_per_block


@pytest.mark.parametrize(
    ("r", "depth", "expected"),
    [
        (8, 3, (8, 8, 8)),
        (0, 2, (0, 0)),
        ((8, -1.0), 3, (16, 8, 0)),
        ((8, 1.0), 3, (0, 8, 16)),
        ((8, 0.0), 3, (8, 8, 8)),
        ((4, -0.5), 6, (6, 5, 4, 3, 2, 2)),
        ((5, -1.0), 1, (5,)),
        ([9, 0, 4], 5, (9, 0, 4, 0, 0)),
        ([9, 4], 2, (9, 4)),
        ([], 2, (0, 0)),
        ((9, 4), 3, (9, 4, 0)),
        (np.int64(8), 2, (8, 8)),
        ((np.int64(8), np.float32(-1.0)), 3, (16, 8, 0)),
        ([np.int32(9), 4], 3, (9, 4, 0)),
    ],
)
def test_forms(r, depth, expected):
    assert resolve(r, depth) == expected


@pytest.mark.parametrize(
    ("r", "text"),
    [
        ((8, 4), "8,4"), ([8, 4], "8,4"), ((8, 4, 2), "8,4,2"),
        ((8, -1.0), "8:-1"), ((8, -0.12345678), "8:-0.12345678"),
        (np.int64(8), "8"), ((np.int64(8), np.float64(0.5)), "8:0.5"), ([np.int64(3)], "3,"), ([], "0,"),
    ],
)  # fmt: skip
def test_what_is_resolved_is_what_is_written(r, text):
    assert format_r(r) == text
    assert resolve(parse(text)[0], 4) == resolve(r, 4)


def test_the_papers_truncation():
    assert sum(resolve((65, -1.0), 24)) == 1549


@pytest.mark.parametrize(
    "r",
    [
        *(-1, 2.5, float("nan"), "8", None, True, {8}),
        *((8, float("nan")), (8, float("inf")), (8, -1.5), (-8, -1.0), (8.5, 1.0)),
        *([1, -1], [1, 2.0], [1] * 5, [None]),
    ],
    ids=repr,
)
def test_refused(r):
    with pytest.raises(ScheduleError, match=r"expected|should|at most"):
        resolve(r, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8", [8]),
        ("8:-1", [(8, -1.0)]),
        ("8:0.5", [(8, 0.5)]),
        ("9,0,4", [[9, 0, 4]]),
        ("30,", [[30]]),
        ("0:65:5", [*range(0, 66, 5)]),
        ("0:16:5", [0, 5, 10, 15]),
        ("4:4:1", [4]),
    ],
)
def test_text(text, expected):
    assert parse(text) == expected
    for one in expected:
        assert parse(format_r(one)) == [one]


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "8:2", "8:nan", "1,-2", "1,,2", "5:1:1", "0:5:0", "1:2:3:4", "1.5", "8:"]
)
def test_text_refused(text):
    with pytest.raises(ScheduleError):
        parse(text)


@pytest.mark.parametrize(
    ("n", "protected", "depth", "r", "after"),
    [
        (577, 1, 24, 25, {1: 552, 22: 27, 23: 14, 24: 8}),
        (1569, 1, 24, 65, {24: 38}),
        (513, 1, 12, 40, {12: 37}),
    ],
)
def test_token_counts_of_the_paper(n, protected, depth, r, after):
    counts = tokens_per_block(resolve(r, depth), n, protected)
    assert {block: counts[block - 1] for block in after} == after
