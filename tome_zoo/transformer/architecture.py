"""The shape of a transformer: what to build, and which tokens it sees. Field names are timm's."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(gt=0, strict=True)]
Pool = Literal["avg", "token", "prefix_mean", "map", "max", "avgmax", "none"]


class Architecture(BaseModel):
    """A plain vision transformer over patches of an image, tubelets of a clip or patches of a spectrogram.

    Attributes:
        embed_dim: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; divides `embed_dim`.
        patch_size: Side of a square patch, in pixels (audio: in frames and mel bins).
        patch_stride: Step between patches; None means `patch_size`, so that patches do not overlap.
        img_size: Side, or (height, width), in pixels; audio: (frames, mel bins).
        in_chans: Input channels.
        num_classes: Outputs of the classifier; 0 means an encoder without one.
        pool: How tokens become one vector: "avg" (mean of the patch tokens, then LayerNorm), "token" (class token
            after LayerNorm), "prefix_mean" (mean of the prefix tokens after LayerNorm, then a second LayerNorm).
            "map" (attention pooling), "max", "avgmax" and "none" are those of timm's own models.
        class_token: Whether a class token leads the sequence.
        reg_tokens: Further prefix tokens behind the class token (registers, AST's distillation token).
        mlp_ratio: Width of the MLP over `embed_dim`.
        qkv_bias: Whether the query, key and value projections have a bias.
        norm_eps: Epsilon of every LayerNorm.
        num_frames: Frames of a clip; None for images and audio.
        tubelet_size: Frames of a tubelet; None for images and audio.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: Count
    depth: Count
    num_heads: Count
    num_classes: Annotated[int, Field(ge=0, strict=True)]
    patch_size: Count = 16
    patch_stride: Count | None = None
    img_size: Count | tuple[Count, Count] = 224
    in_chans: Count = 3
    pool: Pool = "token"
    class_token: bool = True
    reg_tokens: Annotated[int, Field(ge=0, strict=True)] = 0
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    qkv_bias: bool = True
    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    num_frames: Count | None = None
    tubelet_size: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Architecture":
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        if (self.num_frames is None) != (self.tubelet_size is None):
            raise ValueError("num_frames and tubelet_size go together: give both (video) or neither")
        if self.num_frames is not None and self.tubelet_size is not None and self.num_frames % self.tubelet_size:
            raise ValueError(f"num_frames {self.num_frames} is not divisible by tubelet_size {self.tubelet_size}")
        if self.pool in ("token", "prefix_mean") and not self.class_token:
            raise ValueError(f"pool {self.pool!r} reads the class token: set class_token = true or pool = 'avg'")
        height, width = self.size
        if self.patch_stride is None and (height % self.patch_size or width % self.patch_size):
            raise ValueError(f"img_size {height} x {width} is not divisible by patch_size {self.patch_size}")
        if min(height, width) < self.patch_size:
            raise ValueError(f"img_size {height} x {width} is smaller than one patch of {self.patch_size}")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels; audio: (frames, mel bins)."""
        return (self.img_size, self.img_size) if isinstance(self.img_size, int) else self.img_size

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (time, height, width); time is 1 for an image and for a spectrogram."""
        stride = self.patch_stride or self.patch_size
        height, width = ((side - self.patch_size) // stride + 1 for side in self.size)
        frames = 1 if self.num_frames is None or self.tubelet_size is None else self.num_frames // self.tubelet_size
        return frames, height, width

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front that never merge: class token and registers."""
        return int(self.class_token) + self.reg_tokens
