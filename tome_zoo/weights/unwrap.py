"""From what a training program saved to its state dict: the dictionary it lies in, raw or averaged, plain names."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tome_zoo.errors import CheckpointError

log = logging.getLogger(__name__)

STATE_DICT_KEYS = ("model", "model_state", "state_dict", "module")
EMA_KEYS = ("state_dict_ema", "model_ema")
"""Under which training programs keep an exponential moving average of the weights, in timm's order."""
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # anywhere in a name
LEADING = ("module", "model")  # in front of a name: DataParallel, DistributedDataParallel, Lightning
MAX_DEPTH = 4  # dictionaries inside each other
SHOWN = 3  # names that a message lists


def find_state_dict(found: Any, path: str | os.PathLike[str], use_ema: bool | None = None) -> dict[str, Tensor]:
    """Tensors by plain names, out of what a file holds.

    Args:
        found: What was read: a state dict, or a training program's dictionary around one.
        path: The file, for messages.
        use_ema: Of raw and averaged weights in one file, whether to take the averaged ones. None takes them if there
            are any, as timm does, and says so in the log; True and False insist.

    Raises:
        CheckpointError: If there is no state dict, or not the one that is asked for.
    """
    averaged = None
    for _ in range(MAX_DEPTH):
        if not isinstance(found, Mapping):
            raise CheckpointError(f"{path} holds {type(found).__name__}, expected tensors by name")
        raw, ema = _first(found, STATE_DICT_KEYS), _first(found, EMA_KEYS)
        if ema is not None and use_ema is not False:
            if raw is not None and use_ema is None:
                log.warning(
                    "%s holds raw and averaged weights; took the averaged ones (%s), as timm does: use_ema=False "
                    "(--no-ema) takes the others, use_ema=True (--ema) says that these are meant",
                    path, ema,
                )  # fmt: skip
            found, averaged = found[ema], ema
        elif raw is not None:
            found = found[raw]
        elif ema is not None:
            raise CheckpointError(f"{path} holds averaged weights only ({ema}): leave out use_ema=False (--no-ema)")
        else:
            break
    if use_ema and averaged is None:
        raise CheckpointError(
            f"{path} holds no averaged weights beside others (none of {', '.join(EMA_KEYS)}): "
            "leave out use_ema=True (--ema)"
        )
    return strip_prefixes(_tensors(found, path), path)


def _first(found: Mapping[Any, Any], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if isinstance(found.get(key), Mapping)), None)


def _tensors(found: Any, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    if not found:
        raise CheckpointError(f"{path} holds no tensor")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds {type(value).__name__} under {key!r}, expected tensors by name, or a dictionary of them "
                f"under one of {', '.join((*STATE_DICT_KEYS, *EMA_KEYS))}"
            )
    return {key: value for key, value in found.items() if key != "n_averaged"}  # a counter of torch's AveragedModel


def strip_prefixes(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Take off what DistributedDataParallel, FSDP, torch.compile and Lightning put in front of names, in any order.

    Where a Lightning module has most of its tensors under `model.`, the rest (a loss, metrics) is left out and named in
    the log.

    Raises:
        CheckpointError: If two names become one.
    """
    lightning = [key for key in state if key.split(".", 1)[0] == "model"]
    if 2 * len(lightning) > len(state) > len(lightning):
        others = [key for key in state if key not in set(lightning)]
        log.warning("%s: left out %d tensors beside the model: %s", path, len(others), ", ".join(others[:SHOWN]))
        state = {key: state[key] for key in lightning}
    stripped: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = [part for part in key.split(".") if part not in WRAPPERS]
        while len(parts) > 1 and parts[0] in LEADING:
            parts = parts[1:]
        name = ".".join(parts)
        if name in stripped:
            raise CheckpointError(f"{path}: two tensors are called {name!r} once prefixes such as 'module.' are off")
        stripped[name] = value
    return stripped
