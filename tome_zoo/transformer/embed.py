"""Tokenizers for timm's `embed_layer=`: patches of a picture, overlapping patches, tubelets of a clip."""

from collections.abc import Callable
from functools import partial
from typing import Any

from einops import rearrange
from timm.layers import PatchEmbed
from torch import Tensor, nn

from tome_zoo.errors import UnsupportedModelError
from tome_zoo.transformer.architecture import Architecture


class _ConvEmbed(nn.Module):
    """Tokens of an input of one fixed size by a strided convolution; offers what timm reads of its PatchEmbed.

    Attributes:
        patch_size: Extent of a token's kernel along each axis of the input.
        img_size: Extent of the input along each axis.
        grid_size: Tokens along each axis.
        num_patches: Tokens in all.
    """

    def __init__(
        self,
        convolution: type[nn.Module],
        *,
        size: tuple[int, ...],
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        in_chans: int,
        embed_dim: int,
        bias: bool,
        norm_layer: Callable[..., nn.Module] | None,
        device: Any,
        dtype: Any,
        **dynamic: Any,
    ) -> None:
        super().__init__()
        for name, allowed in (
            ("output_fmt", None),
            ("strict_img_size", True),
            ("dynamic_img_pad", False),
            ("flatten", True),
        ):
            if dynamic.pop(name, allowed) != allowed:
                raise UnsupportedModelError(
                    f"{type(self).__name__} works at one fixed input size: leave out {name} and dynamic_img_size"
                )
        if dynamic:
            raise TypeError(f"{type(self).__name__} got an unexpected argument {sorted(dynamic)[0]!r}")
        if any(side < k for side, k in zip(size, kernel, strict=True)):
            raise UnsupportedModelError(f"an input of {_x(size)} is smaller than one patch of {_x(kernel)}")
        self.in_chans = in_chans
        self.img_size, self.patch_size, self.stride = size, kernel, stride
        self.grid_size = tuple((side - k) // step + 1 for side, k, step in zip(size, kernel, stride, strict=True))
        self.num_patches = 1
        for count in self.grid_size:
            self.num_patches *= count
        self.proj = convolution(
            in_chans, embed_dim, kernel_size=kernel, stride=stride, bias=bias, device=device, dtype=dtype
        )
        self.norm = norm_layer(embed_dim, device=device, dtype=dtype) if norm_layer else nn.Identity()

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, ...]:
        """How much coarser the tokens are than the input: the largest spatial stride, or the stride of every axis."""
        return max(self.stride[-2:]) if as_scalar else self.stride

    def dynamic_feat_size(self, img_size: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the one size there is.

        Raises:
            UnsupportedModelError: If another size is asked for.
        """
        if tuple(img_size) != self.img_size[-len(img_size) :]:
            raise UnsupportedModelError(
                f"the input size is fixed at {_x(self.img_size)}, got {_x(img_size)}: build the model for it"
            )
        return self.grid_size

    def set_input_size(self, img_size: Any = None, patch_size: Any = None) -> None:
        """Not offered.

        Raises:
            UnsupportedModelError: Always.
        """
        raise UnsupportedModelError(
            f"the input size is fixed at {_x(self.img_size)}: create the model anew with another img_size"
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, *img_size] -> [batch, tokens, embed_dim], the last axis of the grid running fastest.

        Raises:
            ValueError: If the shape is another one.
        """
        if x.ndim != 2 + len(self.img_size) or tuple(x.shape[1:]) != (self.in_chans, *self.img_size):
            expected = ", ".join(str(n) for n in (self.in_chans, *self.img_size))
            raise ValueError(f"expected an input of shape [batch, {expected}], got {list(x.shape)}")
        return self.norm(rearrange(self.proj(x), "b d ... -> b (...) d"))


class TubeletEmbed(_ConvEmbed):
    """Tokens of a clip [batch, channels, frames, height, width]: one a tubelet, time-major, then row by row.

    The kernel `proj.weight` is [embed_dim, channels, tubelet_size, patch_size, patch_size].
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        *,
        num_frames: int = 16,
        tubelet_size: int = 2,
        norm_layer: Callable[..., nn.Module] | None = None,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **dynamic: Any,
    ) -> None:
        """Build for clips of `num_frames` x `img_size`; the other arguments are those of timm's PatchEmbed.

        Raises:
            UnsupportedModelError: If timm's variable input sizes are asked for.
        """
        height, width = _pair(img_size)
        kernel = (tubelet_size, *_pair(patch_size))
        super().__init__(
            nn.Conv3d,
            size=(num_frames, height, width),
            kernel=kernel,
            stride=kernel,
            in_chans=in_chans,
            embed_dim=embed_dim,
            bias=bias,
            norm_layer=norm_layer,
            device=device,
            dtype=dtype,
            **dynamic,
        )


class OverlapPatchEmbed(_ConvEmbed):
    """Tokens of a picture [batch, channels, height, width]: patches `patch_stride` apart, so that they overlap."""

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        *,
        patch_stride: int,
        norm_layer: Callable[..., nn.Module] | None = None,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **dynamic: Any,
    ) -> None:
        """Build for pictures of `img_size`; the other arguments are those of timm's PatchEmbed.

        Raises:
            UnsupportedModelError: If timm's variable input sizes are asked for.
        """
        super().__init__(
            nn.Conv2d,
            size=_pair(img_size),
            kernel=_pair(patch_size),
            stride=_pair(patch_stride),
            in_chans=in_chans,
            embed_dim=embed_dim,
            bias=bias,
            norm_layer=norm_layer,
            device=device,
            dtype=dtype,
            **dynamic,
        )


def patch_embed(architecture: Architecture) -> Callable[..., nn.Module]:
    """timm's PatchEmbed, or one of overlapping patches where the architecture has a `patch_stride`."""
    if architecture.patch_stride is None:
        return PatchEmbed
    return partial(OverlapPatchEmbed, patch_stride=architecture.patch_stride)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _x(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in sizes)
