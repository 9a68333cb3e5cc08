"""Shared by the tests of the transformer: a counter of operations that puts no hooks on modules."""

import sys
from pathlib import Path

import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.append(str(Path(__file__).parent))  # for the folder `treatments`


class _Flops(TorchDispatchMode):
    """As `FlopCounterMode`, whose hooks on all modules close the fast path."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        self.total += 0 if formula is None else formula(*args, **(kwargs or {}), out_val=out)
        return out


@pytest.fixture
def flops():
    """A mode that counts operations into its `total`."""
    return _Flops
