"""timm's block with a merge in it.

The state of the merging goes in as arguments and comes back: `block(x, size, trace, r) -> (x, size, trace)`. Called
plainly, `block(x)`, it is timm's block. Where somebody acts through the call of a block, it takes and gives tokens
alone, as timm's does, and the state travels beside them in a `MergeStep`. Nothing is kept on a module between calls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from tome_zoo.merge import Reducer, ReducerInputs, apply_reduction, assignment, compose, merge_count, merge_pairs, pair
from tome_zoo.transformer.attention import MergingAttention, attend, mean_keys, project, read_attention
from tome_zoo.transformer.fast_path import differentiation_mode
from tome_zoo.transformer.kernels import gpu_merge
from tome_zoo.transformer.mlp import feed_forward

State = tuple[Tensor, Tensor | None, Tensor | None]
"""Tokens, their sizes (None: one each) and the trace (None: not followed)."""


@dataclass(frozen=True)
class BlockReducer:
    """A reducer in its place; where a block is given none, it runs the default matching by its shorter way.

    Attributes:
        reducer: What chooses which tokens are left.
        block: Number of the block, from 0.
        depth: Number of blocks.
        class_token: Whether the first token is a class token.
    """

    reducer: Reducer
    block: int
    depth: int
    class_token: bool


@dataclass
class MergeStep:
    """What one block is to do beside timm's work, and what came of it; a keyword argument that hooks pass on.

    Attributes:
        size: Original tokens in each incoming token, float32 `[batch, tokens]`; None means one each.
        trace: Where each original token is, int64 `[batch, original]`; None does not follow them.
        r: Tokens to merge.
        protected: Prefix tokens that never merge.
        prop_attn: Whether keys weigh by their size.
        reducer: Another way of reducing tokens than the default matching.
        result: Sizes and trace behind the block; None before it has run.
    """

    size: Tensor | None
    trace: Tensor | None
    r: int
    protected: int
    prop_attn: bool
    reducer: BlockReducer | None = None
    result: tuple[Tensor | None, Tensor | None] | None = None


class MergingBlock(Block):
    """timm's pre-norm block with a merge between attention and MLP."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take timm's arguments."""
        super().__init__(*args, **kwargs)
        if type(self.attn) is Attention:
            self.attn.__class__ = MergingAttention

    def forward(
        self,
        x: Tensor,
        size: Tensor | None = None,
        trace: Tensor | None = None,
        r: int | None = None,
        *,
        protected: int = 0,
        prop_attn: bool = True,
        reducer: BlockReducer | None = None,
        merging: MergeStep | None = None,
        **options: Any,
    ) -> Any:
        """Run the block and merge `r` tokens.

        Args:
            x: Tokens, `[batch, tokens, channels]`.
            size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
            trace: Where each original token is, int64 `[batch, original]`; None does not follow them.
            r: Tokens to merge. None means a plain call, which is timm's own block and returns tokens only.
            protected: Prefix tokens that never merge.
            prop_attn: Whether keys weigh by their size.
            reducer: Another way of reducing tokens than the default matching.
            merging: All of this in one; the block then returns tokens only and leaves the rest in `merging.result`.
            **options: Further arguments of timm's block, for a plain call.

        Returns:
            `(x, size, trace)` with `tokens - min(r, (tokens - protected) // 2)` tokens.
        """
        if merging is not None:
            step = merging
            x, *result = self.merging_forward(
                x, step.size, step.trace, step.r, step.protected, step.prop_attn, step.reducer
            )
            step.result = (result[0], result[1])
            return x
        if r is None:
            return super().forward(x, **options)
        return self.merging_forward(x, size, trace, r, protected, prop_attn, reducer)

    def merging_forward(
        self,
        x: Tensor,
        size: Tensor | None,
        trace: Tensor | None,
        r: int,
        protected: int,
        prop_attn: bool,
        reducer: BlockReducer | None = None,
    ) -> State:
        """What `forward` does where it merges; arguments as there."""
        r = merge_count(r, x.shape[1], protected)
        if reducer is None or r == 0:
            x, size, trace = self._attend(x, size, trace, r, protected, prop_attn)
        else:
            x, size, trace = self._attend_and_reduce(x, size, trace, r, protected, prop_attn, reducer)
        return self._feed_forward(x), size, trace

    def forward_prefix(self, x: Tensor, size: Tensor | None, n: int, prop_attn: bool = True) -> Tensor:
        """The first `n` tokens of the block's output, which merging does not touch; nothing else is computed.

        For blocks that nobody looks into, see `fast_path.why_not_prefix_only`.

        Args:
            x: Tokens, `[batch, tokens, channels]`.
            size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
            n: Tokens wanted, at most the protected ones.
            prop_attn: Whether keys weigh by their size.

        Returns:
            `[batch, n, channels]`.
        """
        attended, _ = read_attention(self.attn, self.norm1(x), size if prop_attn else None, n_queries=n)
        return self._feed_forward(x[:, :n] + self.drop_path1(self.ls1(attended)))

    def _attend(
        self, x: Tensor, size: Tensor | None, trace: Tensor | None, r: int, protected: int, prop_attn: bool
    ) -> State:
        """The first half of the block, a function of its own so that keys do not stay in memory during the second."""
        attended, keys = attend(self.attn, self.norm1(x), size if prop_attn else None)
        attended = self.drop_path1(self.ls1(attended))
        if r == 0:
            return x + attended, size, trace
        pairs = pair(mean_keys(keys), r, protected)
        trace = None if trace is None else compose(trace, assignment(pairs))
        if gpu_merge.usable(x) and not differentiation_mode(x):
            return *gpu_merge.merge_residual(x, attended, size, pairs), trace
        return *merge_pairs(x + attended, size, pairs), trace

    def _attend_and_reduce(
        self,
        x: Tensor,
        size: Tensor | None,
        trace: Tensor | None,
        r: int,
        protected: int,
        prop_attn: bool,
        here: BlockReducer,
    ) -> State:
        """`_attend` with a reducer; what attention keeps to itself is projected once more where a reducer asks."""
        normed = self.norm1(x)
        attended, keys = attend(self.attn, normed, size if prop_attn else None)
        inputs = ReducerInputs(
            x=x + self.drop_path1(self.ls1(attended)),
            before=x,
            size=size,
            project=partial(project, self.attn, normed),
            keys=keys,
            by_size=prop_attn,
            class_token=here.class_token,
            block=here.block,
            depth=here.depth,
        )
        step = here.reducer(inputs, r, protected)
        trace = None if trace is None else compose(trace, step.assign)
        return *apply_reduction(inputs.x, size, step), trace

    def _feed_forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path2(self.ls2(feed_forward(self.mlp, self.norm2(x))))


class MergingSequential(nn.Sequential):
    """timm's `model.blocks`, whose call may also run merging blocks."""

    def forward(self, x: Tensor, run: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """One block after the other, or what `run` makes of the tokens by calling them itself."""
        return super().forward(x) if run is None else run(x)


def take_over(block: Block) -> None:
    """Make timm's block a merging one, in place."""
    block.__class__ = MergingBlock
    block.attn.__class__ = MergingAttention


def give_back(block: MergingBlock) -> None:
    """Make a merging block timm's own again, in place."""
    block.__class__ = Block
    if type(block.attn) is MergingAttention:
        block.attn.__class__ = Attention
