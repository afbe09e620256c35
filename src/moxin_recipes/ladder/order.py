"""The recipes of a folder, in the order of their names, and the rules that they have in common."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.reading import read as read_recipe
from moxin_recipes.recipe.strict import RecipeError

Recipes = list[Recipe[Any]]


def read(folder: Path) -> Recipes:
    """The recipes of a ladder, in the order of their names; RecipeError where there are none."""
    paths = sorted(p for p in folder.glob("*.yaml") if re.match(r"\d\d-", p.name))
    if not paths:
        raise RecipeError(f"{folder}: no recipes there (files such as 30-sft.yaml)")
    return [read_recipe(path) for path in paths]


def chosen(recipes: Recipes, start: str | None, only: list[str], force: list[str]) -> Recipes:
    """The recipes to look at, by `--from` and `--only`.

    A name nobody has is an error, and so is nothing to look at.
    """
    names = [recipe.name for recipe in recipes]
    for name in [*([start] if start else []), *only, *force]:
        if name not in names:
            raise RecipeError(f"no stage {name} in this ladder; it has {', '.join(names)}")
    begun = recipes[names.index(start) :] if start else recipes
    named = [recipe for recipe in begun if not only or recipe.name in only]
    if not named:
        raise RecipeError(f"`--only`: {', '.join(only)} comes before {start}, which `--from` names")
    return named


def outside_inputs(recipes: Recipes) -> list[tuple[Recipe[Any], Reference]]:
    """The inputs that no earlier recipe makes; a tag that none of them will set is an error."""
    made: dict[str, set[str]] = {}
    outside = []
    for recipe in recipes:
        for repo in recipe.outputs.values():
            if recipe.tag in made.get(repo, set()):
                raise RecipeError(
                    f"{recipe.path}: an earlier stage of this ladder sets the tag "
                    f"{repo}@{recipe.tag}, too; give the file another name, or the repository"
                )
        for reference in recipe.references:
            own = reference.repo in recipe.outputs.values()
            if own and reference.revision in (recipe.tag, "main"):
                raise RecipeError(
                    f"{recipe.path}: `{reference.key}`: {reference.repo}@{reference.revision} is "
                    "what this stage makes; name the tag of an earlier one"
                )
            tags = made.get(reference.repo)
            if tags is None:
                outside.append((recipe, reference))
            elif reference.revision not in tags | {"main", "*"}:
                raise RecipeError(
                    f"{recipe.path}: `{reference.key}`: no earlier stage makes "
                    f"{reference.repo}@{reference.revision} (there are {', '.join(sorted(tags))})"
                )
        for repo in recipe.outputs.values():
            made.setdefault(repo, set()).add(recipe.tag)
    return outside


def check_mixtures(recipes: Recipes) -> None:
    """Mixtures name sources of the data stage that makes their tokens, where the ladder has it."""
    known: dict[str, list[str]] = {}  # repository of tokens → its sources
    for recipe in recipes:
        if isinstance(recipe.keys, DataKeys) and recipe.keys.hub_tokens_id:
            known[recipe.keys.hub_tokens_id] = [source.name for source in recipe.keys.sources]
        if not isinstance(recipe.keys, PretrainKeys):
            continue
        there = known.get(recipe.keys.dataset_name.partition("@")[0])
        for position, item in enumerate(recipe.keys.mixture):
            if there is not None and item.source not in there:
                raise RecipeError(
                    f"{recipe.path}: `mixture[{position}].source`: {item.source} is no source "
                    f"of this ladder ({', '.join(sorted(there))})"
                )


def makers(recipes: Iterable[Recipe[Any]], reference: Reference) -> list[str]:
    """The names of the stages that make an input."""
    return [
        recipe.name
        for recipe in recipes
        if reference.repo in recipe.outputs.values()
        and reference.revision in (recipe.tag, "main", "*")
    ]
