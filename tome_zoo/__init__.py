"""tome-zoo: vision transformers for images, video and audio whose tokens merge as they run.

Names load what they need when they are first used, so that `import tome_zoo` stays quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tome_zoo.cards import register_cards
    from tome_zoo.evaluation.evaluator import evaluate, predict
    from tome_zoo.registry import count_macs, create_model, list_models
    from tome_zoo.training.features import embed
    from tome_zoo.training.trainer import train
    from tome_zoo.transformer.patching import patch, unpatch
    from tome_zoo.visualize.drawing import draw

__version__ = "0.1.0"

_HOME = {
    "count_macs": "tome_zoo.registry",
    "create_model": "tome_zoo.registry",
    "draw": "tome_zoo.visualize.drawing",
    "embed": "tome_zoo.training.features",
    "evaluate": "tome_zoo.evaluation.evaluator",
    "list_models": "tome_zoo.registry",
    "patch": "tome_zoo.transformer.patching",
    "predict": "tome_zoo.evaluation.evaluator",
    "register_cards": "tome_zoo.cards",
    "train": "tome_zoo.training.trainer",
    "unpatch": "tome_zoo.transformer.patching",
}

__all__ = [
    "count_macs",
    "create_model",
    "draw",
    "embed",
    "evaluate",
    "list_models",
    "patch",
    "predict",
    "register_cards",
    "train",
    "unpatch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tome_zoo' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
