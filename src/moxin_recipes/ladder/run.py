"""Runs a ladder: checks all recipes, skips what is done, launches the rest one by one."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moxin_recipes.hub import own, pull, releases
from moxin_recipes.hub.session import MissingError
from moxin_recipes.ladder import launching, lengths, order, outputs, own_inputs, status
from moxin_recipes.ladder.launches import Launches
from moxin_recipes.ladder.state import State, restore_tags, state, tagged
from moxin_recipes.recipe import door
from moxin_recipes.recipe.fields import is_path
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
_DONE = "%-22s done already (%s)"


@dataclass(frozen=True)
class Checked:
    """The stages of a ladder to look at, proven as far as can be before anything is launched."""

    todo: order.Recipes
    files: dict[str, Path]  # name of a stage → its launcher's file
    force: list[str]
    owns: list[own.Own]

    def state(self, recipe: Recipe[Any]) -> State:
        """What the Hub says of a stage now."""
        return state(recipe, launching.launcher_of(recipe, self.files[recipe.name]))

    def each(self, launch: Callable[[State, Path], None]) -> None:
        """Launches the stages that are not done, in order; each sees what those before it made."""
        for recipe in self.todo:
            before = self.state(recipe)
            if before.done and recipe.name not in self.force:
                restore_tags(before)
                log.info(_DONE, recipe.name, str(before.commit)[:12])
                continue
            log.info("%-22s starts", recipe.name)
            launch(before, self.files[recipe.name])


def run(
    folder: Path,
    *,
    start: str | None = None,
    only: list[str] | None = None,
    force: list[str] | None = None,
    accelerate_config: Path | None = None,
) -> list[State]:
    """Runs every stage that is not done, with `accelerate launch` (`launches`).

    Before the first one, files and folders of this machine that the recipes name go to the Hub.
    Where every stage is done, nothing is checked: it was, before they ran. Returns the state of
    each stage of the ladder.
    """
    if not force and (states := all_done(folder, start, only or [], accelerate_config)):
        return states
    todo = order.chosen(order.read(folder), start, only or [], force or [])
    with contextlib.closing(Launches()) as launches:
        launches.begin(launching.file_of(todo[0], accelerate_config), todo)  # while all is checked
        checked = check(
            folder,
            start,
            only or [],
            force or [],
            file_of=lambda recipe: launching.file_of(recipe, accelerate_config),
            missing=launching.missing_here,
        )
        own.bring(checked.owns)
        checked.each(launches.run)
    return status.states(folder, accelerate_config)


def check(
    folder: Path,
    start: str | None,
    only: list[str],
    force: list[str],
    *,
    file_of: Callable[[Recipe[Any]], Path],
    missing: Callable[[Path, Launcher], str | None],
) -> Checked:
    """Proves that nothing stands in the way of the chosen stages.

    All recipes are checked, the inputs of all stages are there or will be made by a stage before
    them, and the machine has what the launcher's files ask for, or `missing` says what not.
    `file_of` is asked for the chosen stages; the others are checked under their recipe's file.
    """
    recipes = order.read(folder)
    todo = order.chosen(recipes, start, only, force)
    files = {recipe.name: launching.file_of(recipe) for recipe in recipes if recipe not in todo}
    files |= {recipe.name: file_of(recipe) for recipe in todo}
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
    checked = Checked(todo, files, force, own_inputs.proven(todo))
    for position, recipe in enumerate(todo):
        again = recipe.name in force
        problems = missing_inputs(recipes, todo[:position], recipe)
        lacking = missing(files[recipe.name], launching.launcher_of(recipe, files[recipe.name]))
        if lacking and (again or not checked.state(recipe).done):
            problems.append(f"`accelerate_config`: {lacking}")
        if again:
            pinned_by_releases(checked.state(recipe))
        if problems:
            raise RecipeError(f"{recipe.path}: {'; also '.join(problems)}")
    return checked


def all_done(
    folder: Path, start: str | None, only: list[str], accelerate_config: Path | None
) -> list[State] | None:
    """The states of all stages where the chosen ones are done and tagged; None where one may run.

    A tag that points elsewhere, at the result of another number, is an input of later stages.
    """
    recipes = order.read(folder)
    todo = order.chosen(recipes, start, only, [])
    states = []
    for recipe in todo:
        launcher = launching.launcher_of(recipe, launching.file_of(recipe, accelerate_config))
        try:
            found = state(recipe, launcher)
        except RecipeError:
            return None  # the checks, which come then, say what is wrong
        if not tagged(found):
            return None
        states.append(found)
    for found in states:
        log.info(_DONE, found.recipe.name, str(found.commit)[:12])
    return states if len(todo) == len(recipes) else status.states(folder, accelerate_config)


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


def pinned_by_releases(before: State) -> None:
    """HubError if a stage that is done must stay as it is; see `releases.prove_unpinned`."""
    if before.done:
        recipe = before.recipe
        releases.prove_unpinned(recipe.typed_outputs, recipe.tag, str(before.done_tag))
