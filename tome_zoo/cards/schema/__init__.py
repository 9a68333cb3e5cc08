"""What a card may say, checked by pydantic: models, baselines, data sets, protocols, training recipes and tables."""

from tome_zoo.cards.schema.baseline import BaselineCard
from tome_zoo.cards.schema.dataset import DATASET_FORMATS, DatasetCard, DatasetFormat
from tome_zoo.cards.schema.model import Layout, Measured, Merging, ModelCard, Reported, Weights
from tome_zoo.cards.schema.protocol import ProtocolCard
from tome_zoo.cards.schema.recipe import RecipeCard
from tome_zoo.cards.schema.table import TableCard, TableRow

__all__ = [
    "DATASET_FORMATS",
    "BaselineCard",
    "DatasetCard",
    "DatasetFormat",
    "Layout",
    "Measured",
    "Merging",
    "ModelCard",
    "ProtocolCard",
    "RecipeCard",
    "Reported",
    "TableCard",
    "TableRow",
    "Weights",
]
