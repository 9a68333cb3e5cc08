"""The vision transformer whose tokens merge as they run."""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import feature_take_indices
from torch import Tensor

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.merge import DEFAULT_REDUCER, AnyReducer
from tome_zoo.merge import unmerge as unmerge_tokens
from tome_zoo.schedule import R
from tome_zoo.system.compiler import require_compiler
from tome_zoo.transformer.attention import size_bias
from tome_zoo.transformer.block import MergingBlock, MergingSequential
from tome_zoo.transformer.pooling import PrefixMeanPool, pool_by_size
from tome_zoo.transformer.vit_blocks import MergingBlocksBase, identity_trace, unit_size


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


class MergingVisionTransformer(MergingBlocksBase):
    """timm's `VisionTransformer` with merging; at `r = 0` it is timm's, bit for bit."""

    def __init__(
        self, *args: Any, r: R = 0, prop_attn: bool = True, reducer: AnyReducer = DEFAULT_REDUCER, **kwargs: Any
    ) -> None:
        """Take timm's arguments, and `r`, `prop_attn` and `reducer` as the properties of these names."""
        super().__init__(*args, block_fn=MergingBlock, **kwargs)
        self.blocks.__class__ = MergingSequential
        self.prop_attn = prop_attn
        self.reducer = reducer
        self.r = r

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

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Logits `[batch, classes]` of a batch of inputs; arguments of timm's forward are for `r = 0` only."""
        if not any(self._schedule):
            return super().forward(x, attn_mask, is_causal)
        _refuse_symbols(x)
        _refuse_masks(attn_mask, is_causal)
        tokens = self._embed(x)
        if self.why_not_prefix_only(tokens):
            tokens, size, _ = self._forward_blocks(tokens)
            return self.forward_head(self.norm(tokens), size=size)
        tokens, size, _ = self._forward_blocks(tokens, n_blocks=len(self.blocks) - 1)
        tokens = self._forward_prefix(tokens, size)
        return self.forward_head(self.norm(tokens), size=unit_size(tokens))

    def forward_features(
        self,
        x: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        unmerge: bool = False,
        return_size: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Tokens after the last block and its norm.

        Args:
            x: Inputs of the model.
            attn_mask: As timm's, for `r = 0` only.
            is_causal: As timm's, for `r = 0` only.
            unmerge: Copy every merged token back to all positions it came from: the full grid, prefix in front.
            return_size: Also return how many original tokens each token holds.

        Returns:
            `[batch, tokens left, channels]`, or with `unmerge` `[batch, tokens, channels]`; with `return_size` a pair
            with sizes, float32 `[batch, tokens left]` (with `unmerge`, ones).
        """
        if any(self._schedule):
            _refuse_symbols(x)
            _refuse_masks(attn_mask, is_causal)
            embedded = self._embed(x)
            tokens, size, trace = self._forward_blocks(embedded, identity_trace(embedded) if unmerge else None)
            tokens = self.norm(tokens)
            if trace is not None:
                tokens, size = unmerge_tokens(tokens, trace), None
        else:
            tokens, size = super().forward_features(x, attn_mask, is_causal), None
        if not return_size:
            return tokens
        return tokens, unit_size(tokens) if size is None else size

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
        return pool_by_size(x, size, kind)

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
        return self.trace_tokens(x)[1]

    def trace_tokens(self, x: Tensor) -> tuple[Tensor, Trace]:
        """Tokens as of `forward_features`, `[batch, tokens left, channels]`, and the trace, by one pass."""
        states = self._trace_blocks(self._embed(x))
        tokens, size, _ = states[-1]
        return self.norm(tokens), Trace(
            tuple(trace for _, _, trace in states), unit_size(tokens) if size is None else size
        )

    def _refuse_merged(self, x: Tensor) -> None:
        n_full = self.patch_embed.num_patches + self.num_prefix_tokens
        if any(self._schedule) and (self.dynamic_img_size or x.shape[1] != n_full):
            raise ValueError(
                f"pooling expected a token for each of {n_full} positions, or the sizes of merged ones; got "
                f"{x.shape[1]} tokens without sizes. Take tokens, size = forward_features(x, return_size=True) and "
                "forward_head(tokens, size=size)"
            )


class MergingVisionTransformerDistilled(MergingVisionTransformer, VisionTransformerDistilled):
    """timm's distilled DeiT with merging; class and distillation token never merge."""

    def forward_head(self, x: Tensor, pre_logits: bool = False, size: Tensor | None = None) -> Tensor:
        """timm's distilled head, which reads class and distillation token whatever the other tokens hold."""
        return VisionTransformerDistilled.forward_head(self, x, pre_logits)


def _to_grid(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Tokens `[batch, tokens, channels]` to `[batch, channels, *shape]`, the last axis running fastest."""
    axes = dict(zip("thw"[-len(shape) :], shape, strict=True))
    grid = " ".join(axes)
    return rearrange(x, f"b ({grid}) d -> b d {grid}", **axes).contiguous()


def _refuse_symbols(x: Any) -> None:
    if isinstance(x, torch.fx.Proxy):
        raise UnsupportedModelError(
            "torch.fx traces symbols, whose number of tokens merging cannot count: set r = 0, or use hooks (timm's "
            "AttentionExtract(method='hook')) or torch.export"
        )


def _refuse_masks(*masks: Any) -> None:
    if any(mask is not None and mask is not False for mask in masks):
        raise ValueError("attention masks name positions, which merging moves: set r = 0 to use a mask")
