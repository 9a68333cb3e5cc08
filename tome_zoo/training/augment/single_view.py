"""The protocol of one view a sample, which training starts from."""

from dataclasses import dataclass

from tome_zoo.modalities.inputs import Sampling


@dataclass(frozen=True)
class SingleView:
    """One clip or stretch, one crop."""

    temporal_views: int = 1
    spatial_views: int = 1
    sampling: Sampling = "clip"


SINGLE_VIEW = SingleView()
