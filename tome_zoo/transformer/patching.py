"""`patch` and `unpatch`: merging for a timm model that exists already, or a refusal that says why not."""

import copy
from types import MethodType
from typing import Any

from timm.layers import Attention, AttentionPoolLatent
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import DEFAULT_REDUCER, AnyReducer
from tome_zoo.schedule import R, resolve
from tome_zoo.transformer.block import MergingSequential, give_back, take_over
from tome_zoo.transformer.pooling import PrefixMeanPool
from tome_zoo.transformer.vit import MergingVisionTransformer, MergingVisionTransformerDistilled
from tome_zoo.transformer.vit_blocks import MergingBlocksBase, suited_reducer

_SERVED: dict[type[nn.Module], type[MergingVisionTransformer]] = {
    VisionTransformer: MergingVisionTransformer,
    VisionTransformerDistilled: MergingVisionTransformerDistilled,
}
_derived: dict[type[nn.Module], type[MergingVisionTransformer]] = {}
_FORWARD = (
    "__call__",
    "forward",
    "forward_features",
    "forward_head",
    "forward_intermediates",
    "get_intermediate_layers",
    "pool",
)
"""Methods of timm's class that merging replaces: a subclass with its own cannot be served."""

_BEFORE_WRAPPING = ": patch the timm model first, then wrap, shard or offload it"

_OTHER_CLASSES = {
    "torchvision.models.vision_transformer.VisionTransformer": (
        "load its weights into timm's VisionTransformer of the same shape, for example vit_base_patch16_224"
    ),
    "open_clip.transformer.VisionTransformer": (
        "timm's VisionTransformer takes its weights: timm.create_model('vit_base_patch16_clip_224', pretrained=True)"
    ),
}


def patch(
    model: VisionTransformer, r: R = 0, prop_attn: bool = True, reducer: AnyReducer = DEFAULT_REDUCER
) -> MergingVisionTransformer:
    """Make a timm vision transformer merge tokens, in place; weights, state-dict keys and hooks stay.

    Args:
        model: A timm `VisionTransformer` or distilled DeiT, or a subclass that adds nothing to their forward; one
            already patched gets the new settings.
        r: Merging schedule, in any form of `schedule.resolve`.
        prop_attn: Whether attention weighs merged tokens by size. Supervised models want it; off-the-shelf MAE models
            do not.
        reducer: How tokens are reduced: a name of `tome_zoo.merge.list_reducers()` with options, or a function
            `(inputs, r, protected) -> Reduction`.

    Returns:
        The same model.

    Raises:
        UnsupportedModelError: If the model cannot be merged exactly; it is left as it was.
        ScheduleError: If `r` is no schedule for the model.
        TomeZooError: If there is no such reducer.
    """
    if not isinstance(model, MergingVisionTransformer):
        reason = unsupported_reason(model)
        if reason is not None:
            raise UnsupportedModelError(f"cannot merge tokens of {_full_name(model)}: {reason}. The model is unchanged")
        resolve(r, len(model.blocks))
        suited_reducer(model, reducer)
        offloaded = [module for module in (model, *model.blocks) if _wrapped_by_accelerate(module)]
        for block in model.blocks:
            take_over(block)
        if type(model.blocks) is nn.Sequential:
            model.blocks.__class__ = MergingSequential
        model.__class__ = merging_class(type(model))
        for module in offloaded:
            _rebind(module)
    model.prop_attn = prop_attn
    model.reducer = reducer
    model.r = r
    return model


def unpatch(model: VisionTransformer) -> VisionTransformer:
    """Turn a merging transformer back into timm's own, in place; a model that does not merge is returned as it is."""
    if not isinstance(model, MergingVisionTransformer):
        return model
    for block in model.blocks:
        give_back(block)
    if type(model.blocks) is MergingSequential:
        model.blocks.__class__ = nn.Sequential  # type: ignore[assignment]
    model.__class__ = next(cls for cls in type(model).__mro__ if not issubclass(cls, MergingBlocksBase))  # type: ignore[assignment]
    for name in ("_r", "_schedule", "_prop_attn", "_reducer", "_always_sized"):
        model.__dict__.pop(name, None)
    return model


def unsupported_reason(model: Any) -> str | None:
    """Why a model cannot be merged exactly, or None when `patch` serves it."""
    cls = type(model)
    if not issubclass(cls, tuple(_SERVED)):
        return _other_class(model)
    own = next((name for name in _FORWARD if getattr(cls, name) is not getattr(_base(cls), name)), None)
    if own is not None:
        return f"it has its own `{own}`, which merging would replace; patch serves subclasses that leave timm's forward"
    for index, block in enumerate(model.blocks):
        if type(block) is not Block:
            return (
                f"block {index} is a {type(block).__name__}; only pre-norm blocks (timm's Block) have a place to merge"
                f"{_BEFORE_WRAPPING if isinstance(block, Block) else ''}"
            )
        if type(block.attn) is not Attention:
            return f"the attention of block {index} is a {type(block.attn).__name__}; only timm's Attention is served"
    for name, module in (("its", model), *((f"block {i}'s", block) for i, block in enumerate(model.blocks))):
        if "forward" in vars(module) and not _wrapped_by_accelerate(module):
            return f"{name} forward has been set on the instance, which would pass merging by{_BEFORE_WRAPPING}"
    pool = model.attn_pool
    served = (
        pool is None or type(pool) is PrefixMeanPool or (type(pool) is AttentionPoolLatent and pool.pos_embed is None)
    )
    return None if served else f"its pooling head {type(pool).__name__} needs every token at its own position"


def share_parameters(model: nn.Module) -> Any:
    """A copy with modules and settings of its own on the same parameters and buffers."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def merging_class(cls: type[nn.Module]) -> type[MergingVisionTransformer]:
    """The merging class for a served one; made, once, for subclasses of timm's."""
    if cls in _SERVED:
        return _SERVED[cls]
    if cls not in _derived:
        _derived[cls] = _derive(cls)
    return _derived[cls]


def _derive(cls: type[nn.Module]) -> type[MergingVisionTransformer]:
    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return _new, (cls,), *object.__reduce_ex__(self, protocol)[2:]

    members = {"__module__": cls.__module__, "__doc__": cls.__doc__, "__reduce_ex__": reduce}
    return type(f"Merging{cls.__name__}", (_SERVED[_base(cls)], cls), members)


def _new(cls: type[nn.Module]) -> nn.Module:
    merging = merging_class(cls)
    return merging.__new__(merging)


def _base(cls: type) -> type[nn.Module]:
    """The class of timm's that a model is, or is a subclass of."""
    return next(base for base in cls.__mro__ if base in _SERVED)


def _other_class(model: nn.Module) -> str:
    hint = _OTHER_CLASSES.get(_full_name(model))
    if hint is not None:
        return f"patch serves timm's classes; {hint}"
    if any(isinstance(module, tuple(_SERVED)) for module in model.modules()):
        return f"it only holds a vision transformer{_BEFORE_WRAPPING}"
    served = " and ".join(cls.__name__ for cls in _SERVED)
    return f"patch serves timm's {served} (class token or none, registers, LayerScale, q/k norm, pre-norm)"


def _full_name(model: nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _wrapped_by_accelerate(module: nn.Module) -> bool:
    """Whether `forward` on the instance is accelerate's, which calls `_old_forward`, or timm's own left by it."""
    kept = [vars(module).get(name) for name in ("_old_forward", "forward")]
    return any(getattr(method, "__func__", None) is type(module).forward for method in kept)


def _rebind(module: Any) -> None:
    """Have what accelerate put on a module call the forward of its class as it is now."""
    forward = MethodType(type(module).forward, module)
    if "_old_forward" in vars(module):
        module._old_forward = forward
        module.forward.__wrapped__ = forward
    else:
        module.forward = forward
