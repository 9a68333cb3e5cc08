"""Without a C++ compiler, compilation for a CPU is refused with what is missing."""

import pytest
import timm

import tome_zoo
from tome_zoo.errors import TomeZooError
from tome_zoo.system.compiler import cpp_compiler, require_compiler


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")


def test_none_is_found_and_said(no_compiler):
    assert cpp_compiler() is None
    with pytest.raises(TomeZooError, match=r"needs a C\+\+ compiler.*apt-get install g\+\+"):
        require_compiler("cpu")
    require_compiler("cuda")


def test_compile_says_it_at_once(no_compiler):
    model = tome_zoo.patch(timm.create_model("vit_tiny_patch16_224", depth=1), r=4)
    with pytest.raises(TomeZooError, match=r"needs a C\+\+ compiler"):
        model.compile("block")
    model.compile("block", backend="aot_eager")  # needs none


def test_the_named_one_is_taken(monkeypatch, tmp_path):
    (tmp_path / "my-c++").write_text("#!/bin/sh\n")
    (tmp_path / "my-c++").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "my-c++"))
    assert cpp_compiler() == str(tmp_path / "my-c++")
