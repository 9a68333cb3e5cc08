"""Which recipe a model is trained by, with a user's own settings in it."""

import fnmatch
from typing import Any

from pydantic import ValidationError

from tome_zoo import cards
from tome_zoo.cards.read import describe_errors
from tome_zoo.cards.schema import ModelCard, RecipeCard
from tome_zoo.errors import CardError


def choose_recipe(card: ModelCard, name: str | None = None) -> RecipeCard:
    """The recipe of that name; None takes the first that names the model, else the modality's `finetune_...`.

    Raises:
        CardError: If there is no such recipe, or it is for another modality.
    """
    if name is None:
        for recipe in cards.recipe_cards().values():
            if any(fnmatch.fnmatch(card.name, pattern) for pattern in recipe.models):
                return recipe
        name = f"finetune_{card.modality}"
    recipe = cards.recipe_card(name)
    if recipe.modality != card.modality:
        raise CardError(f"{card.name} reads {card.modality}, but recipe {recipe.name} is for {recipe.modality}")
    return recipe


def with_settings(recipe: RecipeCard, **given: Any) -> RecipeCard:
    """The recipe with other hyper-parameters; those that are None stay.

    A peak learning rate `lr` takes the place of `base_lr`, and the other way round. Fewer epochs shorten the warm-up in
    proportion, unless that is given too.

    Raises:
        CardError: If one is unknown or out of range.
    """
    given = {key: value for key, value in given.items() if value is not None}
    fields = recipe.model_dump(exclude={"sources"})
    if "lr" in given:
        fields["base_lr"] = None
    elif "base_lr" in given:
        fields["lr"] = None
    if "epochs" in given and "warmup_epochs" not in given and isinstance(given["epochs"], int | float):
        fields["warmup_epochs"] = recipe.warmup_epochs * min(1.0, given["epochs"] / recipe.epochs)
    try:
        return RecipeCard.model_validate({**fields, **given})
    except ValidationError as error:
        raise CardError(f"recipe {recipe.name} with {given}: {describe_errors(error)}") from None
