"""What tells a file that was replaced from one that was only moved."""

import os
import shutil

import pytest

from tome_zoo.data.stamp import PART, Stamp, is_unchanged, stamp


def test_a_stamp_has_size_and_content(tmp_path):
    path = tmp_path / "file"
    assert stamp(path) == Stamp(-1, -1)
    path.write_bytes(b"abc")
    assert stamp(path)[0] == 3
    assert stamp(path, content=False).digest == 0 != stamp(path).digest
    assert stamp(tmp_path).digest == 0


@pytest.mark.parametrize("size", [10, 3 * PART, 5 * PART + 7])
def test_a_copy_elsewhere_is_the_same_file_and_another_of_its_size_is_not(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    before = stamp(path)
    assert is_unchanged(path, before)
    copy = shutil.copyfile(path, tmp_path / "copy")
    os.utime(copy, ns=(0, 0))
    assert is_unchanged(copy, before)
    for position in (0, size // 2, size - 1):
        other = bytearray(path.read_bytes())
        other[position] ^= 1
        copy.write_bytes(other)
        assert not is_unchanged(copy, before)
    copy.write_bytes(path.read_bytes() + b"x")
    assert not is_unchanged(copy, before)
    copy.unlink()
    assert not is_unchanged(copy, before)
