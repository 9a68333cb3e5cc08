"""timm's block with a merge in it.

The state of the merging goes in as arguments and comes back: `block(x, size, trace, r) -> (x, size, trace)`. Called
plainly, `block(x)`, it is timm's block. Nothing is kept on a module between calls.
"""

from typing import Any

from timm.models.vision_transformer import Block
from torch import Tensor

from tome_zoo.merge import assignment, compose, merge_count, merge_pairs, pair
from tome_zoo.transformer.attention import attend, mean_keys
from tome_zoo.transformer.kernels import gpu_merge
from tome_zoo.transformer.kernels.cpu_linear import feed_forward

State = tuple[Tensor, Tensor | None, Tensor | None]
"""Tokens, their sizes (None: one each) and the trace (None: not followed)."""


class MergingBlock(Block):
    """timm's pre-norm block with a merge between attention and MLP."""

    def forward(
        self,
        x: Tensor,
        size: Tensor | None = None,
        trace: Tensor | None = None,
        r: int | None = None,
        *,
        protected: int = 0,
        prop_attn: bool = True,
        **plain: Any,
    ) -> Any:
        """Run the block and merge `r` tokens.

        Args:
            x: Tokens, `[batch, tokens, channels]`.
            size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
            trace: Where each original token is, int64 `[batch, original]`; None does not follow them.
            r: Tokens to merge. None means a plain call, which is timm's own block and returns tokens only.
            protected: Prefix tokens that never merge.
            prop_attn: Whether keys weigh by their size.
            **plain: Further arguments of timm's block, for a plain call.

        Returns:
            `(x, size, trace)` with `tokens - min(r, (tokens - protected) // 2)` tokens.
        """
        if r is None:
            return super().forward(x, **plain)
        x, size, trace = self._attend(x, size, trace, merge_count(r, x.shape[1], protected), protected, prop_attn)
        return self._feed_forward(x), size, trace

    def lead(self, x: Tensor, size: Tensor | None, n: int, prop_attn: bool = True) -> Tensor:
        """The first `n` tokens of the block's output, which merging does not touch; nothing else is computed.

        Args:
            x: Tokens, `[batch, tokens, channels]`.
            size: Original tokens in each, float32 `[batch, tokens]`; None means one each.
            n: Tokens wanted, at most the protected ones.
            prop_attn: Whether keys weigh by their size.

        Returns:
            `[batch, n, channels]`.
        """
        attended, _ = attend(self.attn, self.norm1(x), size if prop_attn else None, n_queries=n)
        return self._feed_forward(x[:, :n] + self.drop_path1(self.ls1(attended)))

    def _attend(
        self, x: Tensor, size: Tensor | None, trace: Tensor | None, r: int, protected: int, prop_attn: bool
    ) -> State:
        """The first half of the block, a room of its own so that keys do not stay in memory during the second."""
        attended, keys = attend(self.attn, self.norm1(x), size if prop_attn else None)
        attended = self.drop_path1(self.ls1(attended))
        if r == 0:
            return x + attended, size, trace
        pairs = pair(mean_keys(keys), r, protected)
        trace = None if trace is None else compose(trace, assignment(pairs))
        if gpu_merge.usable(x):
            return *gpu_merge.merge_residual(x, attended, size, pairs), trace
        return *merge_pairs(x + attended, size, pairs), trace

    def _feed_forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path2(self.ls2(feed_forward(self.mlp, self.norm2(x))))
