"""The model that a stage trains, found by its inputs: in the ladder, beside it, or as published."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from moxin_recipes.ladder import order
from moxin_recipes.plan.published import MODELS
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.memory import Shape
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

_START = ("model_name_or_path", "models")


def with_siblings(recipes: order.Recipes) -> order.Recipes:
    """The recipes of a ladder, and where they do not make all of its inputs, those beside it."""
    made = {repo for recipe in recipes for repo in recipe.outputs.values()}
    inputs = {one.repo for recipe in recipes for one in recipe.references if "/" not in one.repo}
    if inputs <= made:
        return recipes
    own = recipes[0].path.resolve().parent
    others = [folder for folder in sorted(own.parent.glob("*/")) if folder != own]
    found = list(recipes)
    for path in (path for folder in others for path in sorted(folder.glob("[0-9][0-9]-*.yaml"))):
        with suppress(RecipeError):  # it is not the folder that was asked for
            found.append(read(path))
    return found


def maker(recipes: order.Recipes, recipe: Recipe[Any], keys: tuple[str, ...]) -> Any:
    """The recipe that makes the first input under one of `keys`; None where none of them does."""
    for reference in recipe.references:
        if reference.key in keys:
            for one in recipes:
                if one is not recipe and order.makers([one], reference):
                    return one
    return None


def shape_of(recipes: order.Recipes, recipe: Recipe[Any]) -> Shape | None:
    """The shape of a stage's model; None for one that neither recipes nor `MODELS` tell.

    `recipes` are those that may have made it, as `with_siblings` has them.
    """
    keys = recipe.keys
    if isinstance(keys, InitKeys) and keys.method == "scratch":
        data = maker(recipes, recipe, ("tokenizer_name_or_path",))
        known = data is not None and isinstance(data.keys, DataKeys)
        return Shape.of_init(keys, data.keys.vocab_size) if known else None
    if isinstance(keys, InitKeys) and keys.method == "gguf":
        return MODELS.get((keys.package or "").partition("==")[0])
    before = maker(recipes, recipe, _START)
    if before is not None:
        shape = shape_of(recipes, before)
    else:
        named = [one.repo for one in recipe.references if one.key in _START]
        shape = MODELS.get(named[0]) if named else None
    if shape and isinstance(keys, InitKeys) and keys.num_hidden_layers:
        return replace(shape, layers=keys.num_hidden_layers)  # expand, upscale
    return shape
