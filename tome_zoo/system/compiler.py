"""Whether PyTorch can compile models here: for a CPU it writes C++."""

import os
import shutil
import sys

from tome_zoo.errors import TomeZooError


def cpp_compiler() -> str | None:
    """Path of the C++ compiler that `torch.compile` would call for a CPU; None if there is none."""
    named = os.environ.get("CXX")
    candidates = [named] if named else ["cl"] if sys.platform == "win32" else ["g++", "clang++"]
    return next((found for name in candidates if (found := shutil.which(name))), None)


def require_compiler(device_type: str) -> None:
    """Refuse to compile for a CPU without a C++ compiler, before minutes go by.

    Raises:
        TomeZooError: If there is none.
    """
    if device_type == "cpu" and cpp_compiler() is None:
        raise TomeZooError(
            "compiling a model for a CPU needs a C++ compiler, and none was found (g++, clang++, or what CXX names): "
            "install one (Debian: `apt-get install g++`), or run without compilation"
        )
