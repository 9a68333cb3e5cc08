"""Weights to start a training from."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tome_zoo.registry import ZooModel


def init_weights(model: ZooModel, generator: Generator) -> None:
    """Draw new weights: matrices from a truncated normal, positions from sines and cosines, which are learnt faster."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
                fan_in = module.weight[0].numel()
                nn.init.trunc_normal_(module.weight, std=min(0.05, fan_in**-0.5), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        for name in ("cls_token", "reg_token"):
            if getattr(model, name, None) is not None:
                nn.init.trunc_normal_(getattr(model, name), std=0.02, generator=generator)
        table = positions(model.card.architecture.grid, model.card.architecture.embed_dim)
        model.pos_embed.zero_()
        model.pos_embed[0, model.pos_embed.shape[1] - len(table) :] = 0.3 * table


def positions(grid: tuple[int, int, int], width: int) -> Tensor:
    """Sines and cosines of each token's place in a (time, height, width) grid, float32 `[tokens, width]`.

    Axes of length 1 take no part; what is left of the width is zero.
    """
    axes = [torch.arange(n, dtype=torch.float32) for n in grid]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    used = [axis for axis, n in enumerate(grid) if n > 1] or [0]
    share = width // (2 * len(used))
    rates = 100.0 ** (-torch.arange(share, dtype=torch.float32) / max(1, share))
    waves = [places[:, axis : axis + 1] * rates for axis in used]
    table = torch.cat([part for wave in waves for part in (wave.sin(), wave.cos())], dim=1)
    return F.pad(table, (0, width - table.shape[1]))
