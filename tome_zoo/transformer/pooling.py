"""Many tokens to one vector, where tokens stand for more than one position."""

from torch import Tensor, nn


class PrefixMeanPool(nn.Module):
    """The mean of the prefix tokens, in the place of timm's `attn_pool`: AST's mean of class and distillation token."""

    def __init__(self, num_prefix_tokens: int) -> None:
        """Take the number of prefix tokens."""
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, tokens, channels]`, prefix in front -> `[batch, channels]`."""
        return x[:, : self.num_prefix_tokens].mean(dim=1)


def pool_by_size(x: Tensor, size: Tensor, kind: str) -> Tensor:
    """Tokens that weigh by their size to one vector.

    Args:
        x: Tokens, `[batch, tokens, channels]`.
        size: Original tokens in each, float32 `[batch, tokens]`.
        kind: "avg", the mean over all original tokens; or "avgmax", half of it and half the maximum.

    Returns:
        `[batch, channels]`.
    """
    weight = (size / size.sum(dim=1, keepdim=True)).unsqueeze(-1)
    mean = (x * weight).sum(dim=1).to(x.dtype)  # float32 or better, as the sizes are
    return mean if kind == "avg" else 0.5 * (x.amax(dim=1) + mean)
