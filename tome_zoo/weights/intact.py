"""Whether a file of weights is whole, as far as its own directory tells, without reading the tensors."""

import json
import zipfile
from pathlib import Path

MAX_HEADER = 16 * 2**20  # bytes of a safetensors header


def fault_of(path: Path) -> str:
    """What is wrong with a file: empty, a web page, cut short; empty if nothing is seen."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        if not start:
            return "it is empty"
        if start.lstrip()[:1] == b"<":
            return "it is a web page"
        if start.startswith(b"PK\x03\x04"):
            return (
                "" if zipfile.is_zipfile(file) else f"it is cut short after {size} bytes: a zip archive without its end"
            )
        length = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{" or length > MAX_HEADER:
            return ""
        file.seek(8)
        header = file.read(length)
    try:
        entries = json.loads(header)
        end = max((entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return f"it is cut short after {size} bytes" if len(header) < length else ""
    expected = 8 + length + end
    return "" if size == expected else f"it has {size} bytes, its header announces {expected}"
