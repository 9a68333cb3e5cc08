"""How everything is timed: checked before anything is built."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tome_zoo import schedule
from tome_zoo.errors import TomeZooError
from tome_zoo.merge import DEFAULT_REDUCER, get_reducer
from tome_zoo.schedule import R
from tome_zoo.system.devices import DTYPES

COMPILE_MODES = ("block", "graph", "cuda-graph")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How everything is timed.

    Attributes:
        r: Merging schedules; None takes those of the card, and 0 and 8 for timm's models.
        reducers: Names of `tome_zoo.merge.list_reducers()` with options; each is timed at each r.
        batch_sizes: Inputs a forward.
        dtypes: Names among `system.devices.DTYPES`: of weights and activations; in training of autocast.
        device: Where.
        threads: Of the CPU; None leaves torch's number.
        compile: One of `COMPILE_MODES`, see `MergingVisionTransformer.compile`; timm's model is compiled whole. None
            runs eagerly.
        train: Time a training step instead of inference.
        checkpointing: Recompute activations in the backward pass.
        explicit: Also time merging as the paper writes it down (`tome_zoo.benchmark.explicit`), at each r.
        reduction_share: Also time dropping the last r tokens, at each r: what a reducer takes beyond that is its share.
        seconds: Of timed rounds for each model, dtype and batch size.
        rounds: Exactly so many rounds instead.
    """

    r: Sequence[R] | None = None
    reducers: Sequence[str] = (DEFAULT_REDUCER,)
    batch_sizes: Sequence[int] = (1,)
    dtypes: Sequence[str] = ("float32",)
    device: torch.device
    threads: int | None = None
    compile: str | None = None
    train: bool = False
    checkpointing: bool = False
    explicit: bool = False
    reduction_share: bool = False
    seconds: float = 10.0
    rounds: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be timed, before anything is built."""
        for reducer in self.reducers:
            get_reducer(reducer)
        for name in ("r", "reducers", "batch_sizes", "dtypes"):
            if getattr(self, name) is not None and not len(getattr(self, name)):
                raise TomeZooError(f"{name} should name at least one, got none")
        for entry in self.r or ():
            schedule.resolve(entry, len(entry) if isinstance(entry, list) else 1)  # depth is checked with each model
        for size in self.batch_sizes:
            if size < 1:
                raise TomeZooError(f"batch size should be at least 1, got {size}")
        for name in self.dtypes:
            if name not in DTYPES:
                raise TomeZooError(f"dtype should be one of {', '.join(DTYPES)}; got {name!r}")
        for name in ("threads", "rounds"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise TomeZooError(f"{name} should be at least 1, got {getattr(self, name)}")
        if not self.seconds > 0:
            raise TomeZooError(f"seconds should be above 0, got {self.seconds}")
        if self.compile not in (None, *COMPILE_MODES):
            raise TomeZooError(f"compile should be one of {', '.join(COMPILE_MODES)}; got {self.compile!r}")
        if self.checkpointing and not self.train:
            raise TomeZooError("checkpointing saves memory in training only: time that with train (--train)")

    @property
    def mode(self) -> str:
        """What is timed, as records say it."""
        return ("training, checkpointing" if self.checkpointing else "training") if self.train else "inference"
