"""The vision transformer whose tokens merge as they run."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from einops import rearrange
from timm.layers import LayerNorm, PatchEmbed
from timm.models import checkpoint
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer, feature_take_indices
from torch import Tensor, nn

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import DEFAULT_REDUCER, AnyReducer, Reducer, get_reducer, list_reducers
from tome_zoo.merge import unmerge as unmerge_tokens
from tome_zoo.schedule import R, resolve
from tome_zoo.system.compiler import require_compiler
from tome_zoo.transformer.architecture import Architecture
from tome_zoo.transformer.attention import ATTENTION_READS, size_bias
from tome_zoo.transformer.block import BlockReducer, MergingBlock, MergingSequential, State, run_block
from tome_zoo.transformer.fast_path import observed, observed_globally, why_not_prefix_only


class Trace(NamedTuple):
    """Where every input token went.

    Attributes:
        blocks: For each block, the index that each input token (prefix tokens included) has after it, int64
            `[batch, tokens]`.
        size: Input tokens in each token after the last block, float32 `[batch, tokens left]`.
    """

    blocks: tuple[Tensor, ...]
    size: Tensor

    @property
    def final(self) -> Tensor:
        """The index of each input token after the last block, `[batch, tokens]`."""
        return self.blocks[-1]


class PrefixMeanPool(nn.Module):
    """The mean of the prefix tokens, in the place of timm's `attn_pool`: AST's mean of class and distillation token."""

    def __init__(self, num_prefix_tokens: int) -> None:
        """Take the number of prefix tokens."""
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, tokens, channels]`, prefix in front -> `[batch, channels]`."""
        return x[:, : self.num_prefix_tokens].mean(dim=1)


class MergingVisionTransformer(VisionTransformer):
    """timm's `VisionTransformer` with merging; at `r = 0` it is timm's, bit for bit."""

    _always_sized = False  # sizes even before the first merge: compiled blocks want them, one program for all of them

    def __init__(
        self, *args: Any, r: R = 0, prop_attn: bool = True, reducer: AnyReducer = DEFAULT_REDUCER, **kwargs: Any
    ) -> None:
        """Take timm's arguments, and `r`, `prop_attn` and `reducer` as the properties of these names."""
        super().__init__(*args, block_fn=MergingBlock, **kwargs)
        self.blocks.__class__ = MergingSequential
        self.prop_attn = prop_attn
        self.reducer = reducer
        self.r = r

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

    def compile(self, mode: str = "block", **options: Any) -> None:
        """Compile the model in place; the first call afterwards takes the time.

        Args:
            mode: "block": one block for any number of tokens, r and batch size, which all blocks share: the shortest
                wait. "graph": the whole model for the present r and input shape, for serving; on a CPU, inference
                only, with weights packed for its matrix units. "cuda-graph": the same, recorded and replayed on a GPU
                without launch costs.
            **options: Further arguments of `torch.compile`.

        Raises:
            ValueError: If there is no such mode.
            TomeZooError: If PyTorch's own backend is to compile for a CPU, and there is no C++ compiler.
        """
        if mode not in ("block", "graph", "cuda-graph"):
            raise ValueError(f"mode should be 'block', 'graph' or 'cuda-graph', got {mode!r}")
        if "backend" not in options:
            require_compiler(next(self.parameters()).device.type)
        if mode == "block":
            self._always_sized = True
            for block in self.blocks:
                block.compile(**{"dynamic": True, **options})
            return
        if mode == "cuda-graph":
            options = {"mode": "reduce-overhead", **options}
        elif next(self.parameters()).device.type == "cpu" and "backend" not in options:
            options = {"options": {"freezing": True}, **options}
        super().compile(**{"fullgraph": True, "dynamic": False, **options})

    def forward(self, x: Tensor, *mask: Any, **masks: Any) -> Tensor:
        """Logits `[batch, classes]` of a batch of inputs; arguments of timm's forward are for `r = 0` only."""
        if not any(self._schedule):
            return super().forward(x, *mask, **masks)
        _refuse_masks(*mask, *masks.values())
        tokens = self._embed(x)
        if self.why_not_prefix_only(tokens):
            tokens, size, _ = self._forward_blocks(tokens)
            return self.forward_head(self.norm(tokens), size=size)
        tokens, size, _ = self._forward_blocks(tokens, n_blocks=len(self.blocks) - 1)
        tokens = self._forward_prefix(tokens, size)
        return self.forward_head(self.norm(tokens), size=_ones(tokens))

    def forward_features(
        self, x: Tensor, *mask: Any, unmerge: bool = False, return_size: bool = False, **masks: Any
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Tokens after the last block and its norm.

        Args:
            x: Inputs of the model.
            *mask: Arguments of timm's `forward_features`, for `r = 0` only.
            unmerge: Copy every merged token back to all positions it came from: the full grid, prefix in front.
            return_size: Also return how many original tokens each token holds.
            **masks: As `mask`.

        Returns:
            `[batch, tokens left, channels]`, or with `unmerge` `[batch, tokens, channels]`; with `return_size` a pair
            with sizes, float32 `[batch, tokens left]` (with `unmerge`, ones).
        """
        if any(self._schedule):
            _refuse_masks(*mask, *masks.values())
            embedded = self._embed(x)
            tokens, size, trace = self._forward_blocks(embedded, _identity(embedded) if unmerge else None)
            tokens = self.norm(tokens)
            if trace is not None:
                tokens, size = unmerge_tokens(tokens, trace), None
        else:
            tokens, size = super().forward_features(x, *mask, **masks), None
        if not return_size:
            return tokens
        return tokens, _ones(tokens) if size is None else size

    def forward_head(self, x: Tensor, pre_logits: bool = False, size: Tensor | None = None) -> Tensor:
        """Pool tokens and classify them.

        Args:
            x: Tokens from `forward_features`, `[batch, tokens, channels]`.
            pre_logits: Stop before the classifier.
            size: Original tokens in each, `[batch, tokens]`, by which pooling weighs.

        Raises:
            ValueError: If the tokens are merged, pooling averages them and `size` is missing.
        """
        if size is None:
            return super().forward_head(x, pre_logits)
        x = self.head_drop(self.fc_norm(self.pool(x, size=size)))
        return x if pre_logits else self.head(x)

    def pool(self, x: Tensor, pool_type: str | None = None, size: Tensor | None = None) -> Tensor:
        """Tokens to one vector. Averages, and attention pooling with `prop_attn`, weigh tokens by `size`.

        Args:
            x: Tokens, `[batch, tokens, channels]`.
            pool_type: Instead of the model's own `global_pool`.
            size: Original tokens in each, `[batch, tokens]`.

        Raises:
            ValueError: If the tokens are merged, pooling averages them and `size` is missing.
        """
        kind = self.global_pool if pool_type is None else pool_type
        if isinstance(self.attn_pool, PrefixMeanPool) or (self.attn_pool is None and kind not in ("avg", "avgmax")):
            return super().pool(x, pool_type)
        if size is None:
            self._refuse_merged(x)
            return super().pool(x, pool_type)
        first = 0 if self.pool_include_prefix else self.num_prefix_tokens
        x, size = x[:, first:], size[:, first:]
        if self.attn_pool is not None:
            return self.attn_pool(x, attn_mask=size_bias(size, x.dtype) if self._prop_attn else None)
        weight = (size / size.sum(dim=1, keepdim=True)).unsqueeze(-1)
        mean = (x * weight).sum(dim=1).to(x.dtype)  # float32 or better, as the sizes are
        return mean if kind == "avg" else 0.5 * (x.amax(dim=1) + mean)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        **masks: Any,
    ) -> Any:
        """timm's `forward_intermediates`; every token that is returned is unmerged to the full grid."""
        if not any(self._schedule):
            return super().forward_intermediates(
                x, indices, return_prefix_tokens, norm, stop_early, output_fmt, intermediates_only, output_dict, **masks
            )
        _refuse_masks(*masks.values())
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt should be 'NCHW' or 'NLC', got {output_fmt!r}")
        taken, last = feature_take_indices(len(self.blocks), indices)
        embedded = self._embed(x)
        states = self._trace_blocks(embedded, last + 1 if stop_early else None)
        full = [unmerge_tokens(tokens, trace) for tokens, _, trace in states]
        tapped = [self.norm(full[i]) if norm else full[i] for i in taken]
        prefix = [y[:, : self.num_prefix_tokens] for y in tapped]
        grids = [y[:, self.num_prefix_tokens :] for y in tapped]
        if output_fmt == "NCHW":
            shape = self.patch_embed.dynamic_feat_size(x.shape[-2:])
            grids = [_to_grid(y, tuple(shape)) for y in grids]
        give_prefix = return_prefix_tokens and self.num_prefix_tokens > 0
        if output_dict:
            named: dict[str, Any] = {"image_intermediates": grids}
            if give_prefix:
                named["image_intermediates_prefix"] = prefix
            return named if intermediates_only else {**named, "image_features": self.norm(full[-1])}
        result = list(zip(grids, prefix, strict=True)) if give_prefix else grids
        return result if intermediates_only else (self.norm(full[-1]), result)

    @torch.no_grad()
    def trace(self, x: Tensor) -> Trace:
        """Where every input token of each sample goes, per block and in the end."""
        states = self._trace_blocks(self._embed(x))
        tokens, size, _ = states[-1]
        return Trace(tuple(trace for _, _, trace in states), _ones(tokens) if size is None else size)

    def _refuse_merged(self, x: Tensor) -> None:
        n_full = self.patch_embed.num_patches + self.num_prefix_tokens
        if any(self._schedule) and (self.dynamic_img_size or x.shape[1] != n_full):
            raise ValueError(
                f"pooling expected a token for each of {n_full} positions, or the sizes of merged ones; got "
                f"{x.shape[1]} tokens without sizes. Take tokens, size = forward_features(x, return_size=True) and "
                "forward_head(tokens, size=size)"
            )

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
        return _ones(x) if self._always_sized else None

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
        state: State = (x, self._first_size(x), _identity(x))
        for index in range(len(self.blocks) if n_blocks is None else n_blocks):
            state = self._forward_block(index, state)
            states.append(state)
        return states


class MergingVisionTransformerDistilled(MergingVisionTransformer, VisionTransformerDistilled):
    """timm's distilled DeiT with merging; class and distillation token never merge."""

    def forward_head(self, x: Tensor, pre_logits: bool = False, size: Tensor | None = None) -> Tensor:
        """timm's distilled head, which reads class and distillation token whatever the other tokens hold."""
        return VisionTransformerDistilled.forward_head(self, x, pre_logits)


def build(
    architecture: Architecture,
    *,
    embed_layer: Callable[..., nn.Module] = PatchEmbed,
    r: R = 0,
    prop_attn: bool = True,
    reducer: AnyReducer = DEFAULT_REDUCER,
    drop_path_rate: float = 0.0,
    device: torch.device | str | None = None,
    cls: type[MergingVisionTransformer] = MergingVisionTransformer,
) -> MergingVisionTransformer:
    """Build a merging transformer with random weights, in evaluation mode.

    Args:
        architecture: Its shape.
        embed_layer: What turns an input into patch tokens; takes timm's arguments for one.
        r: Merging schedule, in any form of `schedule.resolve`.
        prop_attn: Whether attention weighs merged tokens by size.
        reducer: How tokens are reduced, see `tome_zoo.merge.get_reducer`.
        drop_path_rate: Stochastic depth of the last block, for training.
        device: Where the weights lie; "meta" gives a model without memory.
        cls: Class to build.
    """
    a = architecture
    norm_layer = partial(LayerNorm, eps=a.norm_eps)
    model = cls(
        img_size=a.size,
        patch_size=a.patch_size,
        in_chans=a.in_chans,
        num_classes=a.num_classes,
        global_pool="avg" if a.pool == "avg" else "token",
        embed_dim=a.embed_dim,
        depth=a.depth,
        num_heads=a.num_heads,
        mlp_ratio=a.mlp_ratio,
        qkv_bias=a.qkv_bias,
        class_token=a.class_token,
        reg_tokens=a.reg_tokens,
        drop_path_rate=drop_path_rate,
        embed_layer=embed_layer,
        norm_layer=norm_layer,
        device=device,
        r=r,
        prop_attn=prop_attn,
        reducer=reducer,
    )
    if a.pool == "prefix_mean":
        model.global_pool = a.pool
        model.attn_pool, model.pool_include_prefix = PrefixMeanPool(model.num_prefix_tokens), True
        model.fc_norm = norm_layer(a.embed_dim, device=device)
    return model.eval()


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


def _identity(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)


def _ones(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.float32, device=x.device)


def _to_grid(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Tokens `[batch, tokens, channels]` to `[batch, channels, *shape]`, the last axis running fastest."""
    axes = dict(zip("thw"[-len(shape) :], shape, strict=True))
    grid = " ".join(axes)
    return rearrange(x, f"b ({grid}) d -> b d {grid}", **axes).contiguous()


def _refuse_masks(*masks: Any) -> None:
    if any(mask is not None and mask is not False for mask in masks):
        raise ValueError("attention masks name positions, which merging moves: set r = 0 to use a mask")
