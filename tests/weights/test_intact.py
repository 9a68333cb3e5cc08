"""Files cut short at every length: their own directory tells."""

import pytest
import torch
from safetensors.torch import save_file

from tome_zoo.weights.intact import fault_of


@pytest.mark.parametrize("write", [save_file, torch.save])
def test_a_file_cut_short_anywhere_is_seen(tmp_path, write):
    write({"a": torch.arange(40.0), "b": torch.zeros(3, 5)}, tmp_path / "w")
    whole = (tmp_path / "w").read_bytes()
    assert fault_of(tmp_path / "w") == ""
    for length in (0, *range(16, len(whole), 7)):
        (tmp_path / "w").write_bytes(whole[:length])
        assert fault_of(tmp_path / "w") != "", length


def test_other_files_are_for_the_reader_to_judge(tmp_path):
    (tmp_path / "w").write_bytes(bytes(range(256)))
    assert fault_of(tmp_path / "w") == ""
