"""What an evaluation protocol card may say."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tome_zoo.cards.schema.fields import Card, Name
from tome_zoo.modalities.inputs import Modality, Sampling


class ProtocolCard(Card):
    """An evaluation protocol; figures of different versions are never compared.

    Attributes:
        version: Raised whenever a change could alter a score.
        temporal_views: Clips of a video, or stretches of a sound, spread evenly over it.
        spatial_views: Crops a clip.
        sampling: Which frames the clips of a video have: "clip", as spatiotemporal MAE, at the model's own frame rate;
            "strided", as VideoMAE, every so-many-th frame of the file, whatever its rate.
        aggregate: How the views of a sample become one row of scores: mean of the softmax, mean of the logits, or none.
        metric: "top1_top5", or "map" (mean average precision over the classes that have positives).
    """

    name: Name
    version: Annotated[int, Field(gt=0, strict=True)]
    modality: Modality
    summary: str = ""
    temporal_views: Annotated[int, Field(gt=0, strict=True)] = 1
    spatial_views: Annotated[int, Field(gt=0, strict=True)] = 1
    sampling: Sampling = "clip"
    aggregate: Literal["softmax_mean", "logit_mean", "none"] = "none"
    metric: Literal["top1_top5", "map"] = "top1_top5"

    @model_validator(mode="after")
    def _consistent(self) -> "ProtocolCard":
        if self.modality == "image" and self.temporal_views != 1:
            raise ValueError(f"temporal_views must be 1 for {self.modality}, got {self.temporal_views}")
        if self.modality != "video" and self.sampling != "clip":
            raise ValueError(f"sampling = {self.sampling!r} is for video, this protocol is for {self.modality}")
        if self.aggregate == "none" and self.temporal_views * self.spatial_views > 1:
            raise ValueError("several views need aggregate = 'softmax_mean' or 'logit_mean'")
        return self

    @property
    def id(self) -> str:
        """`name@version`, as results state it."""
        return f"{self.name}@{self.version}"
