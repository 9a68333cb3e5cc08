"""`create_model`: a card is found, its weights are located, read and converted, the model is built and loaded."""

import difflib
import fnmatch
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from pydantic import ValidationError
from torch import nn

from tome_zoo.cards import ModelCard, model_card, model_cards
from tome_zoo.cards.read import describe_errors
from tome_zoo.cards.schema import Layout
from tome_zoo.errors import CardError, CheckpointError
from tome_zoo.merge import DEFAULT_REDUCER, AnyReducer
from tome_zoo.modalities.inputs import Modality
from tome_zoo.registry.build import build
from tome_zoo.registry.model import ZooModel, attach_card
from tome_zoo.schedule import R
from tome_zoo.transformer import macs
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.weights.download import DownloadProgress
from tome_zoo.weights.fetch import locate
from tome_zoo.weights.load import classes_of, load_state, read_converted, with_classifier, with_positions
from tome_zoo.weights.metadata import WeightsMetadata, read_metadata


def list_models(filter: str = "*", modality: Modality | None = None) -> list[str]:
    """Names of the zoo's models, sorted. Those of timm, which `create_model` takes as well, are not among them.

    Args:
        filter: fnmatch pattern, e.g. "video_*" or "*mae*".
        modality: "image", "video" or "audio"; None lists all.

    Raises:
        CardError: If there is no such modality.
    """
    if modality is not None and modality not in get_args(Modality):
        raise CardError(f"modality should be one of {', '.join(get_args(Modality))}, got {modality!r}")
    cards = model_cards().values()
    return sorted(
        card.name for card in cards if fnmatch.fnmatch(card.name, filter) and modality in (None, card.modality)
    )


def create_model(
    name: str,
    pretrained: bool = False,
    weights: str | os.PathLike[str] | None = None,
    r: R | None = None,
    prop_attn: bool | None = None,
    *,
    reducer: AnyReducer = DEFAULT_REDUCER,
    device: torch.device | str | None = None,
    drop_path_rate: float = 0.0,
    use_ema: bool | None = None,
    progress: DownloadProgress | None = None,
    **overrides: Any,
) -> ZooModel:
    """Build a model of the zoo, or one of timm's vision transformers, in evaluation mode.

    Args:
        name: Name of its card (`list_models` lists them), or any vision transformer that timm knows and `patch` serves;
            a card of the zoo comes first.
        pretrained: Load the weights that the card names, fetching them if need be; those of timm's models by timm.
        weights: Load this file or URL instead: a published file, timm's layout or safetensors, recognised by its keys.
            It has to fit the architecture, but for position embeddings of another grid, which are resampled, and a
            classifier of another size where `num_classes` asks for it (0: none), which is new then. For the card of an
            encoder it may be a fine-tuned file, which brings its classifier. A file of `save_weights` says itself how
            many classes it has and what they are called.
        use_ema: Of raw and averaged weights in one file, whether to take the averaged ones; None does as timm does.
        r: Merging schedule; None merges nothing. The card's `merging` says what is worth trying.
        prop_attn: Whether attention weighs merged tokens by size; None takes the card's, which is how the model was
            published.
        reducer: How tokens are reduced: a name of `tome_zoo.merge.list_reducers()`, with options as in
            "kmeans:rounds=5", or a function `(inputs, r, protected) -> Reduction`.
        device: Where the model lies; "meta" gives one without weights or memory.
        drop_path_rate: Stochastic depth, for training.
        progress: Called while weights are fetched, with the bytes there are and those there will be (or None);
            None draws a bar on a terminal.
        **overrides: Fields of `Architecture`: img_size, patch_size, embed_dim, depth, num_classes, ...

    Raises:
        CardError: If neither the zoo nor timm has the name, or an override is no field of an architecture or does not
            fit the others.
        UnsupportedModelError: If it is a model of timm that cannot be merged exactly.
        CheckpointError: If weights are asked for that cannot be had, or are of another model.
    """
    card = override(model_card(name), overrides)
    settings: dict[str, Any] = {"r": r, "prop_attn": prop_attn, "reducer": reducer, "drop_path_rate": drop_path_rate}
    meta = device is not None and torch.device(device).type == "meta"
    if not (pretrained or weights is not None) or meta:
        return attach_card(build(card, device=device, **settings), card)
    if weights is None and card.is_timm_own:
        model = attach_card(build(card, pretrained=True, **settings), card)
    else:
        file = _locate(card, weights, progress)
        card = _with_metadata(card, read_metadata(file.path), overrides)
        state, layout = read_converted(file.path, card.architecture, file.layout, use_ema=use_ema)
        if "num_classes" in overrides:
            state = with_classifier(state, card.architecture.num_classes, card.architecture.embed_dim)
        elif card.architecture.num_classes == 0 and classes_of(state):
            card = override(card, {"num_classes": classes_of(state)})
        model = attach_card(build(card, device="meta", **settings), card)
        state = with_positions(state, model, card.architecture, card.modality, source=file.path)
        load_state(model, state, source=f"{file.path} (layout {layout})")
    return model if device is None else model.to(device)


class _File(NamedTuple):
    """A file of weights, and its layout where a card says it."""

    path: Path
    layout: Layout | None


def _locate(card: ModelCard, weights: str | os.PathLike[str] | None, progress: DownloadProgress | None) -> _File:
    """The file to load: the card's, or the file or URL given instead of it."""
    if weights is None:
        if card.weights is None:
            raise CheckpointError(f"the card of {card.name!r} names no weights: pass weights=, a file or URL")
        return _File(locate(card.weights, progress=progress), card.weights.layout)
    return _File(locate(weights, progress=progress), None)


def _with_metadata(card: ModelCard, found: WeightsMetadata, overrides: Mapping[str, Any]) -> ModelCard:
    """The card with what a file of weights says of itself; overrides that were asked for come first."""
    fields = dict(found.architecture) if found.model == card.name else {}
    if found.classes:
        fields["num_classes"] = len(found.classes)
    card = override(card, {**fields, **overrides})
    if len(found.classes) != card.architecture.num_classes:
        return card
    given = {"classes": found.classes, "dataset": found.dataset, "protocol": found.protocol}
    return card.model_copy(update={key: value for key, value in given.items() if value})


def override(card: ModelCard, fields: Mapping[str, Any]) -> ModelCard:
    """The card with other architecture fields.

    Raises:
        CardError: If one is no field of `Architecture`, or does not fit the others.
    """
    if not fields:
        return card
    known = Architecture.model_fields
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CardError(f"{name!r} cannot be overridden; {hint}The fields are {', '.join(known)}")
    try:
        architecture = Architecture.model_validate({**card.architecture.model_dump(), **fields})
    except ValidationError as error:
        raise CardError(f"{card.name} with {dict(fields)}: {describe_errors(error)}") from None
    classes = card.classes if len(card.classes) == architecture.num_classes else ()
    return card.model_copy(update={"architecture": architecture, "classes": classes})


def count_macs(model: str | nn.Module, r: R | None = None) -> macs.Macs:
    """Multiply-accumulates of one view of a model, or of the model of that name (which is not loaded for it).

    Args:
        model: A model or a name.
        r: Merging schedule; None takes the model's own, and 0 for a name.

    Raises:
        CardError: If no model has that name.
        ScheduleError: If `r` is no schedule for the model.
    """
    return macs.count_macs(create_model(model, device="meta") if isinstance(model, str) else model, r)
