"""No stage of a ladder has longer sequences than the model that it starts from has positions."""

from typing import Any

from moxin_recipes.hub import configs, pull
from moxin_recipes.hub.session import MissingError
from moxin_recipes.ladder.order import Recipes
from moxin_recipes.recipe import positions
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.reading import Recipe

Filled = dict[str, tuple[Any, ...]]  # name of a recipe → its libraries' dataclasses


def check(recipes: Recipes, filled: Filled) -> None:
    """RecipeError for the first recipe with a longer sequence than its model has positions.

    Models that the ladder makes have those of the recipe of their start; others are asked for on
    the Hub, and pass where it does not have them yet.
    """
    made: dict[tuple[str, str], int | None] = {}
    for recipe in recipes:
        of_input = None
        for reference in _models(recipe):
            place = (reference.repo, reference.revision)
            known = made[place] if place in made else _of_hub(reference)
            needs = positions.needed(recipe, filled[recipe.name])
            if reference.key == positions.MODEL:
                positions.check(recipe, needs, f"{reference.repo}@{reference.revision}", known)
            of_input = known
        for output, repo in recipe.outputs.items():
            if recipe.output_type(output) == "model":
                for revision in (recipe.tag, "main"):
                    made[repo, revision] = positions.made(recipe, of_input)


def _models(recipe: Recipe[Any]) -> list[Reference]:
    """The models that a recipe starts from; of a mean, all."""
    keys = (positions.MODEL, "models")
    starts = recipe.stage in ("init", "pretrain", "sft", "dpo", "grpo", "distill")
    return [one for one in recipe.references if starts and one.key in keys and one.revision != "*"]


def _of_hub(reference: Reference) -> int | None:
    try:
        return configs.positions(pull.resolve(reference))
    except MissingError:
        return None
