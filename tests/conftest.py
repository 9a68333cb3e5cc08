"""Shared by all tests: the golden vectors, quiet and repeatable torch."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden_index() -> dict[str, Any]:
    """Which cases each golden file holds, and the configurations of their models."""
    return json.loads((GOLDEN / "index.json").read_text())


@pytest.fixture(scope="session")
def golden():
    """name -> tensors of that golden file."""
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")
