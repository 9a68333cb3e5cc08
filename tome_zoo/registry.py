"""Names -> cards -> models: `list_models`, `create_model`."""

import difflib
import fnmatch
import os
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tome_zoo import modalities
from tome_zoo.cards import ModelCard, ProtocolCard, model_card, model_cards, model_labels, protocol_card
from tome_zoo.cards.read import describe_errors
from tome_zoo.errors import CardError, CheckpointError, TomeZooError
from tome_zoo.modalities.inputs import Modality
from tome_zoo.schedule import R
from tome_zoo.transformer import macs
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.vit import MergingVisionTransformer, build
from tome_zoo.weights.download import DownloadProgress
from tome_zoo.weights.fetch import locate
from tome_zoo.weights.load import load_state, read_converted
from tome_zoo.weights.metadata import WeightsMetadata, read_metadata


class ZooModel(MergingVisionTransformer):
    """A merging transformer that knows its card: how to prepare a file for it, and what its outputs are called."""

    card: ModelCard
    """The card it was built from, with the overrides applied."""
    protocol: ProtocolCard
    """The card's evaluation protocol."""
    labels: tuple[str, ...]
    """Names of the outputs: the data set's where the class counts agree and it has names, else "class 0" and so on."""

    def preprocess(self, path: str | os.PathLike[str], protocol: str | None = None) -> Tensor:
        """Read a file and make the views that a protocol takes of it.

        Args:
            path: An image, video or sound.
            protocol: Name of a protocol card; None takes the model card's.

        Returns:
            float32 `[views, channels, ...]`, ready for `forward`.

        Raises:
            MediaError: If the file cannot be read.
        """
        modality = modalities.get(self.card.modality)
        views = self.protocol if protocol is None else protocol_card(protocol)
        return modality.load(Path(path), self.card, views)


def list_models(filter: str = "*", modality: Modality | None = None) -> list[str]:
    """Names of the models, sorted.

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
    device: torch.device | str | None = None,
    drop_path_rate: float = 0.0,
    progress: DownloadProgress | None = None,
    **overrides: Any,
) -> ZooModel:
    """Build a model of the zoo, in evaluation mode.

    Args:
        name: Name of its card; `list_models` lists them.
        pretrained: Load the weights that the card names, fetching them if need be.
        weights: Load this file or URL instead: a published file, timm's layout or safetensors, recognised by its keys.
            It has to fit the architecture exactly. For the card of an encoder it may be a fine-tuned file, which brings
            its classifier; with `num_classes=0` a file's classifier is left out. A file of `save_weights` says itself
            how many classes it has and what they are called.
        r: Merging schedule; None merges nothing. The card's `merging` says what is worth trying.
        prop_attn: Whether attention weighs merged tokens by size; None takes the card's, which is how the model was
            published.
        device: Where the model lies; "meta" gives one without weights or memory.
        drop_path_rate: Stochastic depth, for training.
        progress: Called while weights are fetched, with the bytes there are and those there will be (or None);
            None draws a bar on a terminal.
        **overrides: Fields of `Architecture`: img_size, patch_size, embed_dim, depth, num_classes, ...

    Raises:
        CardError: If there is no such card, or an override is no field of an architecture or does not fit the others.
        CheckpointError: If weights are asked for that cannot be had, or are of another model.
    """
    card = _override(model_card(name), overrides)
    meta = device is not None and torch.device(device).type == "meta"
    if not (pretrained or weights is not None) or meta:
        return _build(card, r, prop_attn, drop_path_rate, device)
    path, layout = _locate(card, weights, progress)
    card = _with_metadata(card, read_metadata(path), overrides)
    state, layout = read_converted(path, card.architecture, layout)
    if card.architecture.num_classes == 0 and "head.weight" in state:
        if "num_classes" in overrides:
            state = {key: value for key, value in state.items() if not key.startswith("head.")}
        else:
            card = _override(card, {"num_classes": state["head.weight"].shape[0]})
    model = _build(card, r, prop_attn, drop_path_rate, "meta")
    load_state(model, state, source=f"{path} (layout {layout})")
    return model if device is None else model.to(device)


def _locate(
    card: ModelCard, weights: str | os.PathLike[str] | None, progress: DownloadProgress | None
) -> tuple[Path, Any]:
    """The file to load, and its layout where a card says it."""
    if weights is None:
        if card.weights is None:
            raise CheckpointError(f"the card of {card.name!r} names no weights: pass weights=, a file or URL")
        return locate(card.weights, progress=progress), card.weights.layout
    return locate(weights, progress=progress), None


def _build(
    card: ModelCard, r: R | None, prop_attn: bool | None, drop_path_rate: float, device: torch.device | str | None
) -> ZooModel:
    model: Any = build(
        card.architecture,
        embed_layer=modalities.get(card.modality).embed_layer(card.architecture),
        r=0 if r is None else r,
        prop_attn=card.merging.prop_attn if prop_attn is None else prop_attn,
        drop_path_rate=drop_path_rate,
        device=device,
        cls=ZooModel,
    )
    model.card = card
    model.protocol = protocol_card(card.protocol)
    model.labels = model_labels(card)
    return model


def _with_metadata(card: ModelCard, found: WeightsMetadata, overrides: dict[str, Any]) -> ModelCard:
    """The card with what a file of weights says of itself; overrides that were asked for come first."""
    fields = dict(found.architecture) if found.model == card.name else {}
    if found.classes:
        fields["num_classes"] = len(found.classes)
    card = _override(card, {**fields, **overrides})
    if len(found.classes) != card.architecture.num_classes:
        return card
    given = {"classes": found.classes, "dataset": found.dataset, "protocol": found.protocol}
    return card.model_copy(update={key: value for key, value in given.items() if value})


def _override(card: ModelCard, overrides: dict[str, Any]) -> ModelCard:
    """The card with other architecture fields."""
    if not overrides:
        return card
    fields = Architecture.model_fields
    for name in overrides:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CardError(f"{name!r} cannot be overridden; {hint}The fields are {', '.join(fields)}")
    try:
        architecture = Architecture.model_validate({**card.architecture.model_dump(), **overrides})
    except ValidationError as error:
        raise CardError(f"{card.name} with {overrides}: {describe_errors(error)}") from None
    return card.model_copy(update={"architecture": architecture})


def require_classifier(model: nn.Module | ModelCard) -> None:
    """Refuse a model without classifier where outputs are to be read as classes.

    Args:
        model: A model, or a card before its weights are fetched for nothing.

    Raises:
        TomeZooError: If it has none; the message says how to get one.
    """
    card: ModelCard | None = model if isinstance(model, ModelCard) else getattr(model, "card", None)
    owner = model.architecture if isinstance(model, ModelCard) else model
    if getattr(owner, "num_classes", 0) > 0:
        return
    name = "the model" if card is None else card.name
    raise TomeZooError(
        f"{name} is a pre-trained encoder without classifier, it has no classes to predict: bring a fine-tuned file "
        "with weights= (--weights), whose classifier is taken over, or fine-tune one with num_classes=N"
    )


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
