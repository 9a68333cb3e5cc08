"""Peak memory against allocations of known size."""

import resource
import sys

import pytest
import torch

from tome_zoo.system import memory
from tome_zoo.system.memory import track_peak

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")


def allocate(mib: int) -> float:
    """Touch every page of that much memory, and free it."""
    return torch.ones(mib * 2**20 // 4).sum().item()


@LINUX
def test_sees_what_was_freed_within_the_block():
    with track_peak(CPU) as idle:
        pass
    with track_peak(CPU) as busy:
        allocate(256)
    assert idle.mib is not None
    assert busy.mib is not None
    assert 250 < busy.mib - idle.mib < 320


@LINUX
def test_forgets_the_peaks_before_the_block():
    allocate(256)
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with track_peak(CPU) as peak:
        allocate(16)
    assert peak.mib is not None
    assert peak.mib < highest - 150


@LINUX
def test_agrees_with_the_highest_resident_set_of_a_fresh_peak():
    with track_peak(CPU) as peak:
        allocate(512)
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert peak.mib == pytest.approx(highest, rel=0.02)


def test_is_set_after_the_block_and_not_before():
    with track_peak(CPU) as peak:
        assert peak.mib is None
    assert peak.mib is None or peak.mib > 0


@LINUX
def test_is_set_when_the_block_fails():
    with pytest.raises(KeyError), track_peak(CPU) as peak:
        raise KeyError
    assert peak.mib is not None


@pytest.mark.parametrize("missing", ["clear_refs", "status"])
def test_is_none_where_the_system_does_not_tell(missing, tmp_path, monkeypatch):
    for name in {"clear_refs", "status"} - {missing}:
        (tmp_path / name).write_text("VmHWM:\t 2048 kB\n")
    (tmp_path / missing).mkdir()  # neither readable nor writable as a file
    monkeypatch.setattr(memory, "PROC", tmp_path)
    with track_peak(CPU) as peak:
        pass
    assert peak.mib is None


def test_reads_kib_as_mib(tmp_path, monkeypatch):
    (tmp_path / "status").write_text("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    with track_peak(CPU) as peak:
        pass
    assert peak.mib == 2.0
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_is_none_on_other_devices():
    with track_peak(torch.device("meta")) as peak:
        pass
    assert peak.mib is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_counts_what_was_given_out():
    device = torch.device("cuda")
    before = torch.cuda.memory_allocated(device) / 2**20
    with track_peak(device) as peak:
        torch.ones(64 * 2**20 // 4, device=device)
    assert peak.mib is not None
    assert peak.mib - before == pytest.approx(64, abs=1)
