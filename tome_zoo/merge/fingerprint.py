"""A digest of a callable by what it does, so that scores of a function that was changed are never taken for its own."""

import functools
import hashlib
import pickle
import types
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from tome_zoo.errors import TomeZooError

NAMED = (types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType, types.MethodWrapperType)


def fingerprint(function: Any) -> str:
    """64 hexadecimal digits, the same in every process of one version of Python.

    They depend on the code of a function, its defaults, what it closes over, what it reads of its module, and on the
    functions and classes that it uses of its own package; of other packages on names alone.

    Raises:
        TomeZooError: If it holds something of which nobody can tell whether it is still the same.
    """
    inner = function.func if isinstance(function, functools.partial) else function
    named = inner if isinstance(inner, types.FunctionType | types.MethodType | type) else type(inner)
    digest = hashlib.sha256()
    for part in _Parts(_package(named.__module__)).of(function):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


class _Parts:
    """Walks over values; each is entered once, so that what refers to itself ends."""

    def __init__(self, package: str) -> None:
        """Functions and classes of `package` are looked into."""
        self._package, self._entered = package, dict[int, tuple[int, Any]]()

    def of(self, value: Any) -> Iterator[bytes]:
        """What a value consists of."""
        yield type(value).__qualname__.encode()
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            yield repr(value).encode()
        elif isinstance(value, tuple | frozenset | types.CodeType):  # equal ones may be one object, or several
            yield from self._inside(value)
        elif id(value) in self._entered:
            yield str(self._entered[id(value)][0]).encode()
        else:
            self._entered[id(value)] = (len(self._entered), value)  # kept, so that its id stays its own
            yield from self._inside(value)

    def _inside(self, value: Any) -> Iterator[bytes]:
        match value:
            case types.FunctionType():
                yield from self._function(value)
            case types.CodeType():
                yield from self._each((value.co_code, value.co_names, value.co_freevars, value.co_consts))
            case types.MethodType():
                yield from self._each((value.__func__, value.__self__))
            case functools.partial():
                yield from self._each((value.func, value.args, value.keywords))
            case staticmethod() | classmethod():
                yield from self.of(value.__func__)
            case property():
                yield from self._each((value.fget, value.fset))
            case types.ModuleType():
                yield value.__name__.encode()
            case type():
                yield from self._class(value)
            case torch.Tensor():
                plain = value.detach().cpu().contiguous()
                yield f"{plain.dtype} {tuple(plain.shape)}".encode()
                yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
            case list() | tuple():
                yield from self._each(value)
            case dict():
                yield from self._each(part for item in value.items() for part in item)
            case set() | frozenset():
                yield from sorted(b"".join(_Parts(self._package).of(item)) for item in value)
            case _ if isinstance(value, NAMED):
                yield value.__qualname__.encode()
            case _ if hasattr(value, "__dict__"):
                yield from self._each((type(value), vars(value)))
            case _:
                yield self._pickled(value)

    def _each(self, values: Iterable[Any]) -> Iterator[bytes]:
        for value in values:
            yield from self.of(value)

    def _function(self, function: types.FunctionType) -> Iterator[bytes]:
        yield f"{function.__module__} {function.__qualname__}".encode()
        if _package(function.__module__) == self._package:
            read = sorted(_names(function.__code__) & function.__globals__.keys())
            yield from self._each((function.__code__, function.__defaults__, function.__kwdefaults__))
            yield from self._each(cell.cell_contents for cell in function.__closure__ or ())
            yield from self._each(function.__globals__[name] for name in read)

    def _class(self, made: type) -> Iterator[bytes]:
        yield f"{made.__module__} {made.__qualname__}".encode()
        if _package(made.__module__) == self._package:
            yield from self._each(made.__bases__)
            yield from self._each(part for name, part in vars(made).items() if name not in ("__dict__", "__weakref__"))

    def _pickled(self, value: Any) -> bytes:
        try:
            return pickle.dumps(value, protocol=4)
        except Exception as error:
            raise TomeZooError(
                f"a reducer uses a {type(value).__qualname__}, of which nobody can tell whether it is still the same: "
                "give it numbers, tensors and functions instead"
            ) from error


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _names(code: types.CodeType) -> set[str]:
    """What code may read of its module, functions within it too."""
    inner = (_names(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)
