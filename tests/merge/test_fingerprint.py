"""A callable's digest tells apart what does something else, and is the same in another process."""

import functools
import subprocess
import sys
import textwrap
import threading

import pytest
import torch
from torch import nn

from tome_zoo.errors import TomeZooError
from tome_zoo.merge import get_reducer
from tome_zoo.merge.fingerprint import fingerprint

SCALE = 2


def scaled(x):
    return SCALE * x


def by_keys(inputs, r, protected):
    return scaled(inputs.keys)


def by_size(inputs, r, protected):
    return scaled(inputs.size)


def closing_over(value):
    def reduce(inputs, r, protected):
        return inputs.x * value

    return reduce


class Weighing(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.itself = [self]

    def forward(self, inputs, r, protected):
        return self.weight * inputs.x


def test_what_differs_has_another_digest(monkeypatch):
    found = [
        fingerprint(made)
        for made in (
            by_keys, by_size, closing_over(1.0), closing_over(2.0), closing_over(torch.ones(2)),
            closing_over(torch.ones(1, 2)), closing_over(scaled), Weighing(1.0), Weighing(2.0),
            functools.partial(by_keys, part=1), functools.partial(by_keys, part=2), functools.partial(by_size, part=2),
            lambda inputs, r, protected: [token + 1 for token in inputs.x],
            lambda inputs, r, protected: [token + 2 for token in inputs.x],
        )
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert fingerprint(closing_over(1.0)) == found[2]
    assert fingerprint(Weighing(1.0)) == found[7]
    monkeypatch.setitem(by_keys.__globals__, "SCALE", 3)
    assert fingerprint(by_keys) != found[0], "a constant that a function reads through another one"


def test_the_digest_is_the_same_in_every_process(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
            import torch
            from tome_zoo.merge.fingerprint import fingerprint

            TABLE = {"a": [1, 2], "b": {"x", "y", "z"}}

            def reduce(inputs, r, protected, share=0.5):
                inner = lambda t: [u for u in t if u in {"p", "q", "s"}]
                return inner(inputs.x), TABLE, torch.topk

            if __name__ != "__main__":
                print(fingerprint(reduce))
        """)
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", "import mine"], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")  # the first compiles, the others read what it compiled
    ]  # fmt: skip
    assert found[0].strip()
    assert len(set(found)) == 1


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(TomeZooError, match="uses a lock"):
        fingerprint(closing_over(threading.Lock()))


def test_reducers_of_this_package_go_by_their_name():
    assert get_reducer("kmeans:rounds=5").identity == "kmeans:rounds=5"
    assert get_reducer(by_keys).identity.startswith("by_keys@")
    assert get_reducer(by_keys).identity != get_reducer(functools.partial(by_keys, part=1)).identity
