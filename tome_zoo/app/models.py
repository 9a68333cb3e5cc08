"""The models that the app offers: those whose weights lie on this machine, or any by name; one of them in memory."""

import math

import torch

from tome_zoo import cards, registry, schedule
from tome_zoo.cards import ModelCard
from tome_zoo.schedule import R
from tome_zoo.weights.fetch import find_cached


def available_models() -> list[str]:
    """Names of the classifiers whose weights need no download, sorted."""
    return sorted(
        card.name
        for card in cards.model_cards().values()
        if card.architecture.num_classes and card.weights is not None and find_cached(card.weights) is not None
    )


def largest_r(card: ModelCard) -> int:
    """How far the slider goes: past the largest constant r of the card, where there are tokens left to merge."""
    constant = [r for r in (*card.merging.r, card.merging.default_r) if isinstance(r, int)]
    tokens = math.prod(card.architecture.grid)
    return max(2, min(tokens // 2, 2 * max(constant, default=0) or tokens // 8))


def default_r(card: ModelCard) -> int:
    """Where the slider stands at first."""
    r = card.merging.default_r
    return r if isinstance(r, int) and r else largest_r(card) // 4


def schedule_of(r: int, decreasing: bool) -> R:
    """A constant schedule, or one that falls linearly from twice as much to none."""
    return schedule.parse(f"{r}:-1" if decreasing and r else str(r))[0]


class Models:
    """Loads models, keeping the last one."""

    def __init__(self, device: torch.device) -> None:
        """Load to a device."""
        self.device = device
        self._loaded: registry.ZooModel | None = None

    def load(self, name: str) -> registry.ZooModel:
        """The classifier of that name with its weights, fetched if need be.

        Raises:
            TomeZooError: If it has no classes or cannot be loaded.
        """
        card = cards.model_card(name)
        registry.require_classifier(card)
        if self._loaded is None or self._loaded.card.name != card.name:
            self._loaded = None  # the old one leaves the memory before the new one comes
            self._loaded = registry.create_model(card.name, pretrained=True).to(self.device)
        return self._loaded
