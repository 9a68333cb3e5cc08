"""Under what a batch was computed: figures of speed and memory are compared only where all of it agrees."""

import json
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple


@dataclass(frozen=True)
class Conditions:
    """Under what a batch was computed.

    Attributes:
        device: In words, with its name.
        batch_size: Views a forward.
        ranks: Processes that shared the work.
        attention: The kernel that computed attention.
    """

    device: str
    batch_size: int
    ranks: int
    attention: str

    def to_json(self) -> str:
        """All of it on one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Conditions":
        """What `to_json` wrote; raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(text)
        return cls(**{item.name: data[item.name] for item in fields(cls)})


class Timing(NamedTuple):
    """What one batch took.

    Attributes:
        batch: Id of its first sample.
        samples: How many.
        seconds: Of the model's forward.
        peak: Peak memory in MiB; 0 where it is not known.
        conditions: Under what.
    """

    batch: str
    samples: int
    seconds: float
    peak: float
    conditions: Conditions
