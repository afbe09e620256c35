"""How many positions a recipe needs of the model that it starts from."""

import dataclasses
from typing import Any

from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError

MODEL = "model_name_or_path"


def needed(recipe: Recipe[Any], libraries: tuple[Any, ...]) -> dict[str, int]:
    """What of a recipe is as long as a sequence: the keys' names → tokens.

    `libraries` are the filled dataclasses of its libraries. Keys that stand for parts of one
    sequence are one entry: their names joined by ` + `.
    """
    args = libraries[-1] if libraries else None
    found: dict[str, int] = recipe.keys.positions(args)
    return {keys: tokens for keys, tokens in found.items() if tokens}


def check(recipe: Recipe[Any], needs: dict[str, int], model: str, positions: int | None) -> None:
    """RecipeError where a recipe needs more tokens than the model has positions (None: unknown)."""
    for keys, tokens in needs.items():
        if positions is not None and tokens > positions:
            names = " + ".join(f"`{key}`" for key in keys.split(" + "))
            raise RecipeError(
                f"{recipe.path}: {names}: {tokens:,} tokens, but {model} has {positions:,} "
                "positions (`max_position_embeddings`); lower it, or take another model"
            )


def made(recipe: Recipe[Any], of_input: int | None) -> int | None:
    """The positions of the model that a recipe makes; `of_input` are those of its input."""
    names = {field.name for field in dataclasses.fields(recipe.keys)}
    own = recipe.keys.max_position_embeddings if "max_position_embeddings" in names else None
    return own if own is not None and recipe.keys.method == "scratch" else of_input
