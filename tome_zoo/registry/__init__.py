"""Names -> cards -> models with weights: the zoo's models, timm's, and timm models that exist already."""

from tome_zoo.registry.create import count_macs, create_model, list_models
from tome_zoo.registry.model import Preprocess, ZooModel, require_classifier
from tome_zoo.registry.resolve import resolve_model

__all__ = [
    "Preprocess",
    "ZooModel",
    "count_macs",
    "create_model",
    "list_models",
    "require_classifier",
    "resolve_model",
]
