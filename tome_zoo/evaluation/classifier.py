"""The model that an evaluation runs: loaded, and put where and into what it computes."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tome_zoo import cards, registry
from tome_zoo.merge import AnyReducer
from tome_zoo.registry import ZooModel, require_classifier
from tome_zoo.system.devices import DTYPES, choose_device


def load_classifier(
    model: nn.Module | str, weights: str | Path | None, overrides: Mapping[str, Any] | None, use_ema: bool | None
) -> ZooModel:
    """A model with its weights, by name or as it is; the arguments are those of `evaluate`.

    Raises:
        TomeZooError: If it has no classifier, which is told before anything is fetched where that is known.
    """
    if isinstance(model, str) and weights is None:
        require_classifier(cards.model_card(model))
    options = {**(overrides or {}), **({} if use_ema is None else {"use_ema": use_ema})}
    found = registry.resolve_model(model, weights=weights, **options)
    require_classifier(found)
    return found


def place(
    model: ZooModel,
    device: torch.device | str | None,
    dtype: str,
    prop_attn: bool | None,
    reducer: AnyReducer | None,
    *,
    keep: bool,
) -> ZooModel:
    """The model where, in what and how it computes, in evaluation mode.

    Args:
        model: With its weights.
        device: None takes the model's own where it is kept, else CUDA where there is a device.
        dtype: Name of a dtype.
        prop_attn: None leaves it as the model has it.
        reducer: None leaves it as the model has it.
        keep: Return a copy, so that the model stays as it is.
    """
    on = next(model.parameters()).device if keep and device is None else choose_device(device)
    network = (copy.deepcopy(model) if keep else model).to(on, DTYPES[dtype])
    if prop_attn is not None:
        network.prop_attn = prop_attn
    if reducer is not None:
        network.reducer = reducer
    return network.eval().requires_grad_(False)
