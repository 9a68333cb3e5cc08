"""What a card may say, checked by pydantic: models, data sets, evaluation protocols and training recipes."""

from tome_zoo.cards.schema.dataset import DATASET_FORMATS, DatasetCard, DatasetFormat
from tome_zoo.cards.schema.model import Layout, Measured, Merging, ModelCard, Reported, Weights
from tome_zoo.cards.schema.protocol import ProtocolCard
from tome_zoo.cards.schema.recipe import RecipeCard

__all__ = [
    "DATASET_FORMATS",
    "DatasetCard",
    "DatasetFormat",
    "Layout",
    "Measured",
    "Merging",
    "ModelCard",
    "ProtocolCard",
    "RecipeCard",
    "Reported",
    "Weights",
]
