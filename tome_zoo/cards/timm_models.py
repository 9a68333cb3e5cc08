"""Cards of timm's vision transformers, made from what timm knows of them; torch and timm are imported when asked."""

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from tome_zoo.cards.read import describe_errors
from tome_zoo.cards.schema import Merging, ModelCard, Weights
from tome_zoo.errors import CardError, UnsupportedModelError
from tome_zoo.modalities.inputs import ImageInput
from tome_zoo.transformer.architecture import Architecture

DEFAULT_R = 8
OWN_CLASSES = "image_folder"  # the data set card for classes that no card lists
IMAGENET = "imagenet1k"
NUM_IMAGENET = 1000
PROTOCOL = "image_center_crop"


def full_name(name: str) -> str | None:
    """timm's name with its tag, which may be left out: "deit_tiny_patch16_224.fb_in1k"; None if it is unknown."""
    import timm

    try:
        if not timm.is_model(name):
            return None
        cfg = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:  # the architecture exists, the tag does not
        return None
    if cfg is None:
        return name
    return f"{cfg.architecture}.{cfg.tag}" if cfg.tag else str(cfg.architecture)


def nearest_names(name: str, others: Mapping[str, Any]) -> list[str]:
    """Names of the zoo and of timm that look most like this one."""
    import timm

    return difflib.get_close_matches(name, [*others, *timm.list_models(), *timm.list_pretrained()], n=4, cutoff=0.5)


@lru_cache(maxsize=512)
def timm_card(name: str) -> ModelCard:
    """The card of a model that timm knows by that name.

    Raises:
        CardError: If timm has no such name.
        UnsupportedModelError: If it cannot be merged exactly.
    """
    import timm
    import torch

    full = full_name(name)
    if full is None:
        raise CardError(f"timm {timm.__version__} has no model {name!r}")
    try:
        with torch.device("meta"):
            model = timm.create_model(full)
    except Exception as error:  # not every model of timm can be built without memory
        raise UnsupportedModelError(f"timm's {full} cannot be merged: {error}") from None
    return card_of_timm(model)


def card_of_timm(model: Any) -> ModelCard:
    """The card of a timm model: its shape from the model, everything else from its `pretrained_cfg`.

    Classes are those that `pretrained_cfg` names or, where their number is that of an ImageNet set, timm's list of it.

    Raises:
        UnsupportedModelError: If the model cannot be merged exactly.
        CardError: If it has no `pretrained_cfg`, or one that no card can state.
    """
    from timm.data import resolve_data_config

    from tome_zoo.transformer.patching import unsupported_reason
    from tome_zoo.transformer.vit import MergingVisionTransformer

    cfg = getattr(model, "pretrained_cfg", None)
    name = _name(model, cfg or {})
    if not isinstance(model, MergingVisionTransformer) and (reason := unsupported_reason(model)) is not None:
        raise UnsupportedModelError(f"timm's {name} cannot be merged: {reason}")
    if not cfg:
        raise CardError(
            f"{name} does not say how its input is prepared: build it with timm.create_model, or set its "
            "pretrained_cfg (mean, std, interpolation, crop_pct, crop_mode, input_size)"
        )
    data = resolve_data_config(pretrained_cfg=cfg)
    settings = {key: data[key] for key in ("mean", "std", "interpolation", "crop_pct", "crop_mode")}
    classes = _classes(model.num_classes, cfg)
    own = model.num_classes != NUM_IMAGENET or bool(classes)
    try:
        return ModelCard(
            name=name,
            modality="image",
            architecture=describe(model),
            input=ImageInput.model_validate(settings),
            dataset=OWN_CLASSES if own else IMAGENET,
            classes=classes,
            protocol=PROTOCOL,
            summary=_summary(cfg),
            weights=_weights(name, cfg),
            merging=Merging(
                prop_attn=not str(cfg.get("tag") or "").startswith("mae"), r=[0, DEFAULT_R], default_r=DEFAULT_R
            ),
            timm=name,
        )
    except ValidationError as error:
        raise CardError(f"timm's {name}: {describe_errors(error)}") from None


def describe(model: Any) -> Architecture:
    """The shape of a timm vision transformer; what only timm can build (layer scale, gated MLPs, ...) is not in it."""
    height, width = (int(side) for side in model.patch_embed.img_size or model.pretrained_cfg["input_size"][1:])
    patch = int(model.patch_embed.feat_ratio())
    whole = height % patch == 0 and width % patch == 0
    block = model.blocks[0]
    prefix = int(model.cls_token is not None)
    return Architecture(
        embed_dim=model.embed_dim,
        depth=len(model.blocks),
        num_heads=block.attn.num_heads,
        num_classes=model.num_classes,
        patch_size=patch,
        patch_stride=None if whole else patch,
        img_size=height if height == width else (height, width),
        in_chans=int(model.pretrained_cfg["input_size"][0]),
        pool="map" if model.attn_pool is not None else model.global_pool or "none",
        class_token=bool(prefix),
        reg_tokens=model.num_prefix_tokens - prefix,
        mlp_ratio=block.mlp.fc2.in_features / model.embed_dim,
        qkv_bias=block.attn.qkv.bias is not None,
        norm_eps=getattr(model.norm, "eps", None) or block.norm1.eps,
    )


def _name(model: Any, cfg: Mapping[str, Any]) -> str:
    architecture, tag = cfg.get("architecture"), cfg.get("tag")
    if not architecture:
        return type(model).__name__
    return f"{architecture}.{tag}" if tag else str(architecture)


def _classes(count: int, cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the outputs; empty for ImageNet-1k, which a data set card lists, and where nobody knows them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    names, described = cfg.get("label_names"), cfg.get("label_descriptions")
    if names and len(names) == count:
        table = described if isinstance(described, Mapping) else {}
        return tuple(str(table.get(name, name)) for name in names)
    subset = infer_imagenet_subset({"num_classes": count})
    if count == NUM_IMAGENET or subset is None or cfg.get("num_classes") != count:
        return ()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(count))


def _weights(name: str, cfg: Mapping[str, Any]) -> Weights | None:
    """What timm publishes of a model; None where it publishes none."""
    about: dict[str, Any] = {
        "layout": "timm",
        "license": cfg.get("license") or "not stated by timm",
        "source": cfg.get("origin_url") or "timm on the Hugging Face hub",
    }
    if hub := cfg.get("hf_hub_id"):
        return Weights(hub=hub, filename=cfg.get("hf_hub_filename") or "model.safetensors", **about)
    return Weights(url=cfg["url"], **about) if cfg.get("url") else None


def _summary(cfg: Mapping[str, Any]) -> str:
    import timm

    parts = [f"Of timm {timm.__version__}, described by its pretrained_cfg; never trained with merging."]
    if cfg.get("description"):
        parts.append(str(cfg["description"]))
    if cfg.get("paper_name"):
        parts.append(f"Paper: {cfg['paper_name']}.")
    return " ".join(parts)
