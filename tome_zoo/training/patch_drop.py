"""Dropping whole columns and rows of patches while a model trains, as Audio-MAE masks spectrograms."""

import torch
from torch import Tensor, nn


class GridDrop(nn.Module):
    """Stands in timm's `patch_drop`, behind the position embedding; does nothing in evaluation, and has no weights."""

    def __init__(self, grid: tuple[int, int], drop: tuple[float, float], prefix: int) -> None:
        """Keep other columns and rows of each sample at random.

        Args:
            grid: Patches along (frames, mel bins), the last running fastest.
            drop: The part of each axis that is dropped.
            prefix: Tokens in front that stay.
        """
        super().__init__()
        self.grid, self.prefix = grid, prefix
        self.kept = tuple(max(1, round(n * (1 - part))) for n, part in zip(grid, drop, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, prefix + frames * bins, channels] -> [batch, prefix + kept frames * kept bins, channels]."""
        if not self.training:
            return x
        times, bins = (
            torch.rand(len(x), n, device=x.device).argsort(dim=1)[:, :kept].sort(dim=1).values
            for n, kept in zip(self.grid, self.kept, strict=True)
        )
        places = (times[:, :, None] * self.grid[1] + bins[:, None, :]).flatten(1) + self.prefix
        kept = x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))
        return torch.cat([x[:, : self.prefix], kept], dim=1)
