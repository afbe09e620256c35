"""The one door to a stage: `moxin check`, `moxin run` and a direct launch prove a recipe here."""

from typing import Any

from moxin_recipes.recipe import trainers
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError


def check(recipe: Recipe[Any], launcher: Launcher, on_hardware: bool = True) -> tuple[Any, ...]:
    """Proves every rule of a recipe; the libraries' dataclasses, filled for this launch.

    The rules are those of our own keys, of the libraries' keys with our values in them, and of
    both together. With `on_hardware=False` the keys that need a GPU are set aside. RecipeError
    names the recipe and the key.
    """
    try:
        trainers.check_names(recipe)
        recipe.keys.check()
        recipe.keys.check_launch(launcher.sharded)
        filled = trainers.fill(recipe, launcher, on_hardware)
        if filled:
            recipe.keys.check_libraries(trainers.as_launched(recipe, filled[-1], launcher))
    except RecipeError as error:
        raise RecipeError(f"{recipe.path}: {error}") from None
    return filled
