"""Files of JSON, a line each, that are appended to by runs which may be killed at any moment."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tome_zoo.errors import DataError

T = TypeVar("T")


def append(path: Path, items: Iterable[dict[str, Any]]) -> None:
    """Append one line an item; the folder is made if need be.

    Half a line at the end, left by a run that was killed while it wrote, is cut off first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(item, allow_nan=False) + "\n" for item in items)
    with path.open("ab+") as file:
        file.seek(0)
        before = file.read()
        whole = before.rfind(b"\n") + 1
        if _is_json(before[whole:]):
            lines = "\n" + lines
        else:
            file.truncate(whole)
        file.write(lines.encode())


def read(path: Path, parse: Callable[[dict[str, Any]], T], kind: str, command: str) -> list[T]:
    """What the lines of a file mean, without half a line at the end.

    Args:
        path: The file.
        parse: Makes an item of a line, or raises ValueError, TypeError, KeyError or AttributeError.
        kind: What an item is called, for messages.
        command: What writes such a file, for messages.

    Raises:
        DataError: If there is no such file or a line is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"expected {kind}s at {path}: {getattr(error, 'strerror', error)}; `{command}` writes them"
        ) from None
    lines, whole = text.splitlines(), text.endswith("\n")
    if lines and not whole and not _is_json(lines[-1]):
        lines.pop()  # half a line, left by a run that was killed while it wrote
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}, line {number}: not a {kind} ({error}); remove the line") from None
    return found


def _is_json(text: str | bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
