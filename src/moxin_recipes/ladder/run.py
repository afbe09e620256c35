"""Runs a ladder: checks all recipes, skips what is done, launches the rest one by one."""

import logging
from pathlib import Path
from typing import Any

from moxin_recipes.hub import own, pull, releases
from moxin_recipes.hub.session import MissingError
from moxin_recipes.ladder import launching, lengths, order, outputs, own_inputs, status
from moxin_recipes.ladder.launches import Launches
from moxin_recipes.ladder.state import State, restore_tags, state, tagged
from moxin_recipes.recipe import door
from moxin_recipes.recipe.fields import is_path
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
DONE = "%-22s done already (%s)"


def run(
    folder: Path,
    *,
    start: str | None = None,
    only: list[str] | None = None,
    force: list[str] | None = None,
    accelerate_config: Path | None = None,
) -> list[State]:
    """Runs every stage that is not done, with `accelerate launch` (`launches`).

    Nothing is launched before all recipes are checked, the inputs of all stages are there or will
    be made by a stage before them, and this machine has what the launcher's files ask for. Then
    files and folders of this machine that the recipes name go to the Hub. Where every stage is
    done, nothing is checked: it was, before they ran. Returns the state of each stage of the
    ladder.
    """
    recipes = order.read(folder)
    todo = order.chosen(recipes, start, only or [], force or [])
    files = {recipe.name: launching.file_of(recipe, accelerate_config) for recipe in recipes}
    if not force and (states := all_done(todo, files)):
        for before in states:
            log.info(DONE, before.recipe.name, str(before.commit)[:12])
        return states if len(todo) == len(recipes) else status.states(folder, accelerate_config)
    own.bring(proven(recipes, todo, files, force or []))
    with Launches() as launches:
        for recipe in todo:
            file = files[recipe.name]
            launcher = launching.launcher_of(recipe, file)
            before = state(recipe, launcher)
            if before.done and recipe.name not in (force or []):
                restore_tags(before)
                log.info(DONE, recipe.name, str(before.commit)[:12])
                continue
            log.info("%-22s starts", recipe.name)
            launches.run(recipe, file, launcher.processes)
    return status.states(folder, accelerate_config)


def proven(
    recipes: order.Recipes, todo: order.Recipes, files: dict[str, Path], force: list[str]
) -> list[own.Own]:
    """What has to be right before a launch; the files of this machine that the recipes name."""
    filled = {
        recipe.name: door.check(
            recipe, launching.launcher_of(recipe, files[recipe.name]), on_hardware=False
        )
        for recipe in recipes
    }
    order.outside_inputs(recipes)
    outputs.check(recipes)
    order.check_mixtures(recipes)
    lengths.check(recipes, filled)
    owns = own_inputs.proven(todo)
    for position, recipe in enumerate(todo):
        problems = missing_inputs(recipes, todo[:position], recipe)
        problems += missing_machines(recipe, files[recipe.name], recipe.name in force)
        if recipe.name in force:
            pinned_by_releases(recipe, files[recipe.name])
        if problems:
            raise RecipeError(f"{recipe.path}: {'; also '.join(problems)}")
    return owns


def all_done(todo: order.Recipes, files: dict[str, Path]) -> list[State] | None:
    """The states of the stages where all are done, and tagged; None where one may have to run.

    A tag that points elsewhere, at the result of another number, is an input of later stages.
    """
    states = []
    for recipe in todo:
        try:
            found = state(recipe, launching.launcher_of(recipe, files[recipe.name]))
        except RecipeError:
            return None  # the checks, which come then, say what is wrong
        if not tagged(found):
            return None
        states.append(found)
    return states


def missing_inputs(recipes: order.Recipes, before: order.Recipes, recipe: Recipe[Any]) -> list[str]:
    """The inputs of a stage that are absent and that no stage `before` it will make, in words."""
    problems = []
    for reference in recipe.references:
        known = reference.benchmark or is_path(reference.repo)  # these are pushed in a moment
        if known or order.makers(before, reference):
            continue
        try:
            pull.resolve_all([reference])
        except MissingError as error:
            hint = ""
            for maker in order.makers(recipes, reference)[-1:]:
                hint = f" ({maker} makes it: leave out --only or --from)"
            problems.append(f"{error}{hint}")
    return problems


def missing_machines(recipe: Recipe[Any], file: Path, again: bool) -> list[str]:
    """What a stage that has to run would wait for in vain on this machine, in words."""
    launcher = launching.launcher_of(recipe, file)
    missing = launching.missing_here(file, launcher)
    if missing is None or (state(recipe, launcher).done and not again):
        return []
    return [f"`accelerate_config`: {missing}"]


def pinned_by_releases(recipe: Recipe[Any], file: Path) -> None:
    """HubError if a stage that is done must stay as it is; see `releases.prove_unpinned`."""
    before = state(recipe, launching.launcher_of(recipe, file))
    if before.done:
        releases.prove_unpinned(recipe.typed_outputs, recipe.tag, str(before.done_tag))
