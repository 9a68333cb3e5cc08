"""What a file of weights says of itself in its safetensors header: which model it is of, and what its classes are.

All values of such a header are texts; those of `classes` and `architecture` are JSON.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tome_zoo.errors import CheckpointError


@dataclass(frozen=True)
class WeightsMetadata:
    """The header of a file that `save_weights` wrote; all empty for any other file.

    Attributes:
        model: Name of the model card that the weights belong to.
        architecture: Fields of `Architecture` in which the model differs from that card.
        classes: Names of the outputs, in their order.
        dataset: Name of the data set card whose classes they are, where it is not that of the model card.
        protocol: Name of the protocol card, likewise.
    """

    model: str | None = None
    architecture: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    dataset: str | None = None
    protocol: str | None = None

    def to_header(self) -> dict[str, str]:
        """Texts by name, as safetensors stores them; what is empty is left out."""
        found = {
            "model": self.model,
            "architecture": json.dumps(self.architecture) if self.architecture else None,
            "classes": json.dumps(list(self.classes), ensure_ascii=False) if self.classes else None,
            "dataset": self.dataset,
            "protocol": self.protocol,
        }
        return {"format": "pt", **{key: value for key, value in found.items() if value is not None}}

    @classmethod
    def from_header(cls, header: dict[str, str]) -> "WeightsMetadata":
        """The inverse of `to_header`; keys of other programs are left out.

        Raises:
            CheckpointError: If `classes` or `architecture` is not what `to_header` writes.
        """
        return cls(
            model=header.get("model"),
            architecture=_json(header, "architecture", dict, "{}"),
            classes=tuple(_json(header, "classes", list, "[]")),
            dataset=header.get("dataset"),
            protocol=header.get("protocol"),
        )


def read_metadata(path: str | os.PathLike[str]) -> WeightsMetadata:
    """What a file of weights says of itself; empty for files that say nothing, are no safetensors, or cannot be opened.

    Raises:
        CheckpointError: If it says something that cannot be understood.
    """
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] != b"{":  # a zip archive of torch.save, or no file of weights
            return WeightsMetadata()
        with safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
    except (SafetensorError, OSError, ValueError):  # whoever loads it says what is wrong with it
        return WeightsMetadata()
    try:
        return WeightsMetadata.from_header(header)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _json(header: dict[str, str], key: str, kind: type[list[Any]] | type[dict[str, Any]], default: str) -> Any:
    text = header.get(key, default)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    names = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    if not isinstance(value, kind) or (kind is list and not names):
        expected = "a JSON list of names" if kind is list else "a JSON object"
        raise CheckpointError(f"the file's metadata {key!r} should be {expected}, got {text[:80]!r}")
    return value
