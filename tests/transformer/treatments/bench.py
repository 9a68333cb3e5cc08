"""What people do to a timm model from outside: each treatment, and the same model made another way."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tome_zoo.transformer.patching import unpatch


@dataclass
class Bench:
    """A model under treatment.

    Attributes:
        model: It.
        seen: What hooks saw.
        stack: Undoes at the end what reaches beyond the model.
    """

    model: VisionTransformer
    seen: list[Any] = field(default_factory=list)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def see(self, *_: Any) -> None:
        """A hook that only looks."""
        self.seen.append(1)

    def timms_own(self) -> VisionTransformer:
        """The model as timm's class again."""
        return unpatch(self.model)


Run = Callable[[Tensor], Tensor]


class Treatment(NamedTuple):
    """One treatment.

    Attributes:
        act: Does it to a model; returns what is called then, None for the model itself.
        same: Makes the same model by its weights alone.
        needs: The library that it takes.
    """

    act: Callable[[Bench], Run | None]
    same: Callable[[VisionTransformer], Any]
    needs: str | None


TREATMENTS: dict[str, Treatment] = {}


def treatment(
    same: Callable[[VisionTransformer], Any] = lambda model: None, needs: str | None = None
) -> Callable[[Any], Any]:
    """Register a treatment with what makes the same model by its weights alone; by default nothing."""

    def register(function: Any) -> Any:
        TREATMENTS[function.__name__.replace("_", " ")] = Treatment(function, same, needs)
        return function

    return register


def scale(path: str, factor: float, *, blocks: slice = slice(None)) -> Callable[[VisionTransformer], None]:
    """Multiply the parameters of a part of each block."""

    def change(model: VisionTransformer) -> None:
        with torch.no_grad():
            for block in model.blocks[blocks]:
                for parameter in block.get_submodule(path).parameters():
                    parameter.mul_(factor)

    return change


def parts(bench: Bench, path: str) -> list[nn.Module]:
    """That part of every block."""
    return [block.get_submodule(path) for block in bench.model.blocks]


def backward(model: nn.Module) -> Run:
    """Forward, and a backward pass that hooks see."""

    def run(x: Tensor) -> Tensor:
        y = model(x)
        y.square().sum().backward()
        return y

    return run
