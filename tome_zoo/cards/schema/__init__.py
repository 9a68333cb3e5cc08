"""What a card may say, checked by pydantic: models, data sets and evaluation protocols."""

from tome_zoo.cards.schema.dataset import DATASET_FORMATS, DatasetCard, DatasetFormat
from tome_zoo.cards.schema.model import Layout, Measured, Merging, ModelCard, Reported, Weights
from tome_zoo.cards.schema.protocol import ProtocolCard

__all__ = [
    "DATASET_FORMATS",
    "DatasetCard",
    "DatasetFormat",
    "Layout",
    "Measured",
    "Merging",
    "ModelCard",
    "ProtocolCard",
    "Reported",
    "Weights",
]
