"""r in training: constant, by parts of the run, or drawn for every step."""

from collections.abc import Sequence

from tome_zoo.cards.schema import RecipeCard
from tome_zoo.schedule import R
from tome_zoo.training.seeds import derive


def r_of_step(recipe: RecipeCard, step: int, total: int, seed: int) -> R:
    """What merges in a step; the same in every process, and after a resume."""
    choices = recipe.r
    if recipe.r_mode == "constant":
        return choices[0]
    if recipe.r_mode == "scheduled":
        return choices[min(step * len(choices) // total, len(choices) - 1)]
    return choices[derive(seed, "r", step) % len(choices)]


def r_to_evaluate(recipe: RecipeCard) -> tuple[R, ...]:
    """0 and those of training: the last of a schedule; of many random ones the first, the middle and the last."""
    choices: Sequence[R] = recipe.r
    if recipe.r_mode == "constant":
        choices = choices[:1]
    elif recipe.r_mode == "scheduled":
        choices = choices[-1:]
    elif len(choices) > 3:
        choices = (choices[0], choices[len(choices) // 2], choices[-1])
    found: list[R] = [0]
    return tuple(found + [r for r in choices if r != 0])


def r_trained_for(recipe: RecipeCard) -> tuple[R, ...]:
    """Of those that are evaluated the ones by whose mean score the best weights are chosen."""
    tried = r_to_evaluate(recipe)
    if recipe.r_mode == "random":
        return tried
    return tried[-1:]
