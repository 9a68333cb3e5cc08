"""What a decoder had to do to a file: damaged parts that were left out or stood in for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_logger = logging.getLogger(__name__)
_collecting: ContextVar[list[str] | None] = ContextVar("_collecting", default=None)


def note(text: str) -> None:
    """Log it, and give it to whoever collects."""
    _logger.info("%s", text)
    collected = _collecting.get()
    if collected is not None:
        collected.append(text)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect what is noted meanwhile in this thread."""
    notes: list[str] = []
    token = _collecting.set(notes)
    try:
        yield notes
    finally:
        _collecting.reset(token)
