"""The blocks of a vision transformer as merging runs them: its settings, and the state from block to block."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models import checkpoint
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import AnyReducer, Reducer, get_reducer, list_reducers
from tome_zoo.schedule import R, resolve
from tome_zoo.transformer.attention import ATTENTION_READS
from tome_zoo.transformer.block import BlockReducer, MergeStep, MergingBlock, MergingSequential, State
from tome_zoo.transformer.fast_path import observed, observed_globally, why_not_prefix_only
from tome_zoo.transformer.pooling import PrefixMeanPool


def _call(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return block(*args, **kwargs)


class MergingBlocksBase(VisionTransformer):
    """timm's `VisionTransformer` with the settings of merging, and its blocks run by them."""

    _always_sized = False  # sizes even before the first merge: compiled blocks want them, one program for all of them

    @property
    def r(self) -> R:
        """Tokens to merge in each block: a number, a pair (r, slope) or a list, as `schedule.resolve` takes them."""
        return self._r

    @r.setter
    def r(self, r: R | Sequence[int]) -> None:
        self._schedule = resolve(r, len(self.blocks))
        self._r = list(r) if isinstance(r, Sequence) and not isinstance(r, tuple) else r

    @property
    def prop_attn(self) -> bool:
        """Whether attention weighs merged tokens by their size."""
        return self._prop_attn

    @prop_attn.setter
    def prop_attn(self, on: bool) -> None:
        self._prop_attn = bool(on)

    @property
    def reducer(self) -> Reducer:
        """How tokens are reduced: "bipartite" unless set, by name ("kmeans:rounds=5") or as a function."""
        return self._reducer

    @reducer.setter
    def reducer(self, reducer: AnyReducer) -> None:
        self._reducer = suited_reducer(self, reducer)

    def _embed(self, x: Tensor) -> Tensor:
        return self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(x))))

    def _forward_block(self, index: int, state: State) -> State:
        """One block: the state before it to the state after it."""
        options: dict[str, Any] = {"protected": self.num_prefix_tokens, "prop_attn": self._prop_attn}
        if self.grad_checkpointing and torch.is_grad_enabled():
            options["run"] = checkpoint
        if not self._reducer.is_default:
            has_class_token = self.cls_token is not None
            options["reducer"] = BlockReducer(self._reducer, index, len(self.blocks), has_class_token)
        return run_block(self.blocks[index], state, self._schedule[index], **options)

    def _forward_blocks(self, x: Tensor, trace: Tensor | None = None, n_blocks: int | None = None) -> State:
        """The first `n_blocks` blocks, or all: embedded tokens to the state behind them."""
        state: State = (x, self._first_size(x), trace)
        if n_blocks is None and (observed(self.blocks) or observed_globally()):
            return self._call_blocks(state)
        for index in range(len(self.blocks) if n_blocks is None else n_blocks):
            state = self._forward_block(index, state)
        return state

    def _call_blocks(self, state: State) -> State:
        """All blocks by way of their container, for whoever acts through its call."""
        if not isinstance(self.blocks, MergingSequential):
            raise UnsupportedModelError(
                f"model.blocks is a {type(self.blocks).__name__} with hooks, which merging cannot call: act on the "
                "first or the last block, or set r = 0"
            )
        states = [state]

        def run(x: Tensor) -> Tensor:
            current: State = (x, *states[0][1:])
            for index in range(len(self.blocks)):
                current = self._forward_block(index, current)
            states.append(current)
            return current[0]

        tokens = self.blocks(state[0], run=run)
        return tokens, *states[-1][1:]

    def _first_size(self, x: Tensor) -> Tensor | None:
        """Sizes before the first block: None spares it the weighing; compiled blocks want all calls to be alike."""
        return unit_size(x) if self._always_sized else None

    def why_not_prefix_only(self, x: Tensor) -> str:
        """Why the last block computes more than the prefix tokens; "" where the head reads, and nobody else sees, more.

        Args:
            x: Embedded tokens, `[batch, tokens, channels]`.
        """
        by_class_token = self.attn_pool is None and self.global_pool == "token"
        if not self.num_prefix_tokens or not (by_class_token or isinstance(self.attn_pool, PrefixMeanPool)):
            return "the head reads all tokens"
        reason = observed(self.blocks)
        if reason:
            return f"blocks: {reason}"
        last = self.blocks[-1]
        if type(last) is not MergingBlock:
            return f"the last block is a {type(last).__name__}"
        return why_not_prefix_only(last, self.norm, ATTENTION_READS, x)

    def _forward_prefix(self, x: Tensor, size: Tensor | None) -> Tensor:
        """The prefix tokens behind the last block."""
        block, n = self.blocks[-1], self.num_prefix_tokens
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(block.forward_prefix, x, size, n, self._prop_attn)
        return block.forward_prefix(x, size, n, self._prop_attn)

    def _trace_blocks(self, x: Tensor, n_blocks: int | None = None) -> list[tuple[Tensor, Tensor | None, Tensor]]:
        """The state after each of the first `n_blocks` blocks, with every token followed."""
        states: list[Any] = []
        state: State = (x, self._first_size(x), identity_trace(x))
        for index in range(len(self.blocks) if n_blocks is None else n_blocks):
            state = self._forward_block(index, state)
            states.append(state)
        return states


def run_block(
    block: nn.Module,
    state: State,
    r: int,
    *,
    protected: int,
    prop_attn: bool,
    reducer: BlockReducer | None = None,
    run: Callable[..., Any] = _call,
) -> State:
    """One block of a merging transformer: the state before it to the state behind it.

    Args:
        block: A `MergingBlock`, or a wrapper around one.
        state: Tokens, sizes and trace.
        r: Tokens to merge.
        protected: Prefix tokens that never merge.
        prop_attn: Whether keys weigh by their size.
        reducer: Another way of reducing tokens than the default matching.
        run: What calls the block, a gradient checkpoint for example.

    Raises:
        UnsupportedModelError: If what stands in the place of a block cannot merge, or changed the number of tokens.
    """
    x, size, trace = state
    if isinstance(block, MergingBlock) and not (observed(block) or observed_globally()):
        other = {} if reducer is None else {"reducer": reducer}
        return run(block, x, size, trace, r, protected=protected, prop_attn=prop_attn, **other)
    if type(block) is nn.Identity:  # a block taken out
        return run(block, x), size, trace
    reason = "" if torch.compiler.is_compiling() else _why_no_merging(block)
    step = MergeStep(size, trace, r, protected, prop_attn, reducer)
    if not reason:
        x = run(block, x, merging=step)
        reason = "" if step.result is not None else "its forward does not call the block with `merging`"
    if reason or step.result is None:
        raise UnsupportedModelError(f"a block cannot merge: {reason}. Pass **kwargs on to timm's forward, or set r = 0")
    size, trace = step.result
    if size is not None and size.shape[1] != x.shape[1]:
        raise UnsupportedModelError(
            f"a hook on a block made {x.shape[1]} tokens of {size.shape[1]}: merging has lost track of what they hold. "
            "Give as many tokens as the hook got, or set r = 0"
        )
    return x, size, trace


def _why_no_merging(block: nn.Module) -> str:
    if not any(isinstance(module, MergingBlock) for module in block.modules()):
        return f"a {type(block).__name__} has been put in its place"
    if "forward" not in block.__dict__:
        return ""
    parameters = inspect.signature(block.forward).parameters
    if "merging" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return ""
    return "the forward set on it takes no keyword `merging`"


def suited_reducer(model: VisionTransformer, reducer: AnyReducer) -> Reducer:
    """The reducer of that name.

    Raises:
        UnsupportedModelError: If it needs a class token and the model has none.
        TomeZooError: If there is no such reducer.
    """
    found = get_reducer(reducer)
    if found.class_token and model.cls_token is None:
        raise UnsupportedModelError(
            f"reducer {found.name!r} ranks tokens by the class token's attention, and this model has none: "
            f"choose another of {', '.join(list_reducers())}"
        )
    return found


def identity_trace(x: Tensor) -> Tensor:
    """Where each token of `[batch, tokens, channels]` is before anything merges, int64 `[batch, tokens]`."""
    return torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)


def unit_size(x: Tensor) -> Tensor:
    """Sizes of tokens that stand for one position each, float32 `[batch, tokens]`."""
    return torch.ones(x.shape[:2], dtype=torch.float32, device=x.device)
