"""The one door to a stage: `moxin check`, `moxin run` and a direct launch check a recipe here."""

from typing import Any

from moxin_recipes.recipe import trainers
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError


def check(recipe: Recipe[Any], launcher: Launcher, on_hardware: bool = True) -> tuple[Any, ...]:
    """Checks every rule of a recipe; the libraries' dataclasses, filled for this launch.

    The rules are those of our own keys, of the libraries' keys with our values in them, and of
    both together. With `on_hardware=False` the keys that need a GPU are set aside, and this process
    stands for all of the launch. RecipeError names the recipe and the key.
    """
    try:
        trainers.check_names(recipe)
        recipe.keys.check()
        recipe.keys.check_launch(launcher.sharded)
        filled = trainers.fill(recipe, launcher, on_hardware)
        if filled:
            recipe.keys.check_libraries(trainers.as_launched(recipe, filled[-1]))
    except RecipeError as error:
        raise RecipeError(f"{recipe.path}: {error}") from None
    except _LIBRARIES_SAY as error:
        raise RecipeError(f"{recipe.path}: {' '.join(str(error).split())}") from error
    return filled


# What transformers and TRL raise for values that they cannot use; each has its own way.
_LIBRARIES_SAY = (ValueError, TypeError, ArithmeticError, ImportError, OSError)
