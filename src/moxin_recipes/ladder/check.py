"""`moxin check`: every recipe against its rules and the libraries, with its inputs resolved."""

import logging
from pathlib import Path

from moxin_recipes.hub import pull, session
from moxin_recipes.ladder import launching, order
from moxin_recipes.recipe import door, trainers
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def check(place: Path, online: bool) -> None:
    """Checks the recipes of a folder, or one recipe, without a GPU; logs a line for each.

    With `online` an input that the Hub does not have is a RecipeError; else a line says so.
    """
    recipes = [read(place)] if place.is_file() else order.read(place)
    for recipe in recipes:
        launcher = launching.launcher_of(recipe, launching.file_of(recipe))
        door.check(recipe, launcher, on_hardware=False)
        steps = ""
        if recipe.trains:
            micro, count = trainers.batches(recipe, launcher.processes)
            steps = f", {launcher.processes} processes × {micro} sequences × {count} accumulations"
        log.info("%-22s %s%s: ok", recipe.name, recipe.stage, steps)
    order.check_mixtures(recipes)
    outside = order.outside_inputs(recipes)
    session.start()
    unresolved = []
    for _, reference in outside:
        try:
            parent = pull.resolve(reference)
            log.info("  %s: %s@%s", reference.key, parent.repo, parent.commit)
        except session.MissingError:
            unresolved.append(f"{reference.key}: {reference.repo}@{reference.revision}")
            log.info("  unresolved  %s", unresolved[-1])
    if unresolved and online:
        raise RecipeError(f"{len(unresolved)} inputs are unresolved, the first: {unresolved[0]}")
