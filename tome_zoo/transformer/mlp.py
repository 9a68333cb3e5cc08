"""timm's MLP with its GELU fused into the first linear layer, where that makes no difference to anybody."""

from typing import Any

from timm.layers import Mlp
from torch import Tensor, nn

from tome_zoo.transformer.fast_path import Reads, observed, why_not_fast_path
from tome_zoo.transformer.kernels.cpu_linear import linear_gelu

MLP_READS = Reads(Mlp, ("fc1", "fc2"))


def feed_forward(mlp: Any, x: Tensor) -> Tensor:
    """`mlp(x)`: by reading its weights where the fast path is open, else by calling it.

    Args:
        mlp: Any MLP; timm's `Mlp` has a fast path.
        x: Normalised tokens, `[batch, tokens, channels]`.

    Returns:
        `[batch, tokens, channels]`.
    """
    if why_not_fast_path(mlp, MLP_READS, x):
        return mlp(x)
    act = mlp.act
    if type(act) is nn.GELU and act.approximate == "none" and not observed(act):
        x = linear_gelu(x, mlp.fc1.weight, mlp.fc1.bias, gelu=True)
    else:
        x = act(linear_gelu(x, mlp.fc1.weight, mlp.fc1.bias))
    x = mlp.norm(mlp.drop1(x))
    return mlp.drop2(linear_gelu(x, mlp.fc2.weight, mlp.fc2.bias))
