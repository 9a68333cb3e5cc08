"""Files of JSON, a line each, that several runs append to, any of which may be killed at any moment."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tome_zoo.errors import DataError
from tome_zoo.system.files import locked

T = TypeVar("T")

_TEXTS = (str, str | None)


def append(path: Path, items: Iterable[dict[str, Any]]) -> None:
    """Append one line an item, all of them or none; the folder is made if need be.

    Half a line at the end, left by a run that was killed while it wrote, is cut off first. Of several processes one
    writes at a time.

    Raises:
        OSError: If they cannot be written, on a full disk for one; the file is as it was.
    """
    lines = "".join(json.dumps(item, allow_nan=False) + "\n" for item in items)
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path), path.open("ab+", buffering=0) as file:  # a buffer would write its rest before it is cut off
        file.seek(0)
        before = file.read()
        end = before.rfind(b"\n") + 1
        if _is_json(before[end:]):
            lines, end = "\n" + lines, len(before)
        file.truncate(end)
        try:
            rest = memoryview(lines.encode())
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(end)
            raise OSError(error.errno, error.strerror, str(path)) from None


def read(path: Path, parse: Callable[[dict[str, Any]], T], kind: str, command: str) -> list[T]:
    """What the lines of a file mean, without half a line at the end; blank lines and a byte-order mark are skipped.

    Args:
        path: The file.
        parse: Makes an item of a line, or raises ValueError, TypeError, KeyError or AttributeError.
        kind: What an item is called, for messages.
        command: What writes such a file, for messages.

    Raises:
        DataError: If there is no such file or a line is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"expected {kind}s at {path}: {getattr(error, 'strerror', None) or error}; `{command}` writes them"
        ) from None
    lines, whole = text.split("\n"), text.endswith("\n")
    if not whole and not _is_json(lines[-1]):
        lines.pop()  # half a line, left by a run that was killed while it wrote
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}, line {number}: not a {kind} ({error}); mend or remove the line") from None
    return found


def from_dict(cls: type[T], data: Any) -> T:
    """A dataclass from the object of a line, as programs and people may have rewritten it.

    Numbers stand for texts that look like numbers, null for a field that is not there; keys that are no fields are left
    out.

    Raises:
        ValueError: If a field is missing or of another type; the message names it.
    """
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    hints = get_type_hints(cls)
    given = {
        item.name: data[item.name]
        for item in fields(cls)  # type: ignore[arg-type]
        if item.name in data and not (data[item.name] is None and _has_default(item))
    }
    for name, value in given.items():
        if hints[name] in _TEXTS and isinstance(value, int | float) and float(value).is_integer():
            given[name] = str(int(value))
    try:
        return TypeAdapter(cls).validate_python(given)
    except ValidationError as error:
        faults = (f"field {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ValueError("; ".join(faults)) from None


def _has_default(item: Field[Any]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _is_json(text: str | bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
