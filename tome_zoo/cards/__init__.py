"""The cards: which models, data sets, protocols and recipes there are. Reads TOML; imports neither torch nor timm."""

from tome_zoo.cards.catalogue import (
    card_file,
    card_folder,
    dataset_card,
    dataset_cards,
    model_card,
    model_cards,
    protocol_card,
    protocol_cards,
    recipe_card,
    recipe_cards,
    register_cards,
    reload_cards,
    unregister_cards,
)
from tome_zoo.cards.labels import labels, model_dataset, model_labels, read_classes, read_labels
from tome_zoo.cards.schema import DatasetCard, Measured, Merging, ModelCard, ProtocolCard, RecipeCard, Reported, Weights

__all__ = [
    "DatasetCard",
    "Measured",
    "Merging",
    "ModelCard",
    "ProtocolCard",
    "RecipeCard",
    "Reported",
    "Weights",
    "card_file",
    "card_folder",
    "dataset_card",
    "dataset_cards",
    "labels",
    "model_card",
    "model_cards",
    "model_dataset",
    "model_labels",
    "protocol_card",
    "protocol_cards",
    "read_classes",
    "read_labels",
    "recipe_card",
    "recipe_cards",
    "register_cards",
    "reload_cards",
    "unregister_cards",
]
