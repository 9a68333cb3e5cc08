"""Atomic writes: the old file or the new one, never a half."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from tome_zoo.system.files import atomic_write


def test_text_and_bytes_are_written_as_given(tmp_path):
    with atomic_write(tmp_path / "new" / "a.csv") as file:
        file.write("ä,b\r\n")
    assert (tmp_path / "new" / "a.csv").read_bytes() == "ä,b\r\n".encode()
    with atomic_write(tmp_path / "new" / "a.csv", "wb") as file:
        file.write(b"\x00\n")
    assert (tmp_path / "new" / "a.csv").read_bytes() == b"\x00\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.csv"]


@pytest.mark.parametrize("fault", [OSError("full"), KeyboardInterrupt()])
def test_a_fault_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    (tmp_path / "a").write_text("old")

    def write():
        with atomic_write(tmp_path / "a") as file:
            file.write("half")
            raise fault

    with pytest.raises(type(fault)):
        write()
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nobody_sees_half_a_file(tmp_path):
    path, stop, seen = tmp_path / "a", threading.Event(), set()
    path.write_text("0" * 100_000)

    def read():
        while not stop.is_set():
            seen.add("".join(sorted(set(path.read_text()))) + str(len(path.read_text())))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        with atomic_write(path) as file:
            for _ in range(10):
                file.write(str(number % 10) * 10_000)
    stop.set()
    reader.join()
    assert seen <= {f"{digit}100000" for digit in range(10)}


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    code = (
        "import os, sys; from tome_zoo.system.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n    file.write('half'); file.flush(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")]).returncode == 9
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_links_and_modes_are_as_an_ordinary_write_leaves_them(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "link") as file:
            file.write("new")
    finally:
        os.umask(before)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
