"""`moxin check`: every recipe against its rules and the libraries, with its inputs resolved."""

import logging
from pathlib import Path
from typing import Any

from moxin_recipes import environment
from moxin_recipes.hub import own, pull, session
from moxin_recipes.hub.pull import Parent
from moxin_recipes.ladder import launching, lengths, memory, order, outputs, own_inputs
from moxin_recipes.recipe import door, trainers
from moxin_recipes.recipe.fields import Reference, is_path
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def check(place: Path, online: bool) -> None:
    """Checks the recipes of a folder, or one recipe, without a GPU; logs a line for each.

    With `online` an input that the Hub does not have is a RecipeError; else a line says so.
    """
    recipes = [read(place)] if place.is_file() else order.read(place)
    filled = {}
    for recipe in recipes:
        file = launching.file_of(recipe)
        launcher = launching.launcher_of(recipe, file)
        filled[recipe.name] = door.check(recipe, launcher, on_hardware=False)
        steps = ""
        if recipe.trains:
            micro, count = trainers.batches(recipe, launcher.processes)
            steps = f", {launcher.processes} processes × {micro} sequences × {count} accumulations"
        log.info("%-22s %s%s: ok", recipe.name, recipe.stage, steps)
        if recipe.trains:
            launched = trainers.as_launched(recipe, filled[recipe.name][-1])
            for line in memory.lines(recipes, recipe, file, launched):
                log.info("  %s", line)
        for line in outputs.lines(recipe, recipes):
            log.info("  %s", line)
    outputs.check(recipes)
    order.check_mixtures(recipes)
    outside = order.outside_inputs(recipes)
    session.start()
    lengths.check(recipes, filled)
    owns = own_inputs.proven(recipes)
    unresolved = []
    for found in owns:
        named = "" if environment.takes_own_files() else ", if the command names the Hub (--hub)"
        said = "is there already" if own.is_there(found) else f"would be pushed{named}"
        log.info("  %s: %s: %s", found.key, found, said)
    for recipe, reference in outside:
        if is_path(reference.repo):
            continue
        parents = _there(reference)
        for parent in parents:
            log.info("  %s: %s@%s", reference.key, parent.repo, parent.commit)
            _check_tokenizer(recipe, parent)
        if not parents:
            unresolved.append(f"{reference.key}: {reference.repo}@{reference.revision}")
            log.info("  unresolved  %s", unresolved[-1])
    for recipe in recipes:
        if isinstance(recipe.keys, EvaluateKeys):
            _check_tasks(recipe, recipe.keys)
    if unresolved and online:
        raise RecipeError(f"{len(unresolved)} inputs are unresolved, the first: {unresolved[0]}")


def _there(reference: Reference) -> list[Parent]:
    """The pinned input, or each revision of it; nothing where the Hub does not have it."""
    try:
        return pull.resolve_all([reference])
    except session.MissingError:
        return []


def _check_tokenizer(recipe: Recipe[Any], parent: Parent) -> None:
    """Proves a tokenizer that documents are written with; RecipeError says what is wrong with it.

    So is that of a model which pretraining goes on with.
    """
    if parent.key == "tokenizer_name_or_path" or (
        parent.key == "model_name_or_path" and recipe.stage == "pretrain"
    ):
        from moxin_recipes.tokens import vocabulary

        try:
            vocabulary.proven(pull.download(parent, vocabulary.FILES), parent.key)
        except RecipeError as error:
            raise RecipeError(f"{recipe.path}: {error}") from None


def _check_tasks(recipe: Recipe[Any], keys: EvaluateKeys) -> None:
    """Loads every task of an evaluation; RecipeError names all that cannot be asked."""
    from moxin_recipes.scores import proof

    parents = [parent for reference in recipe.references for parent in _there(reference)]
    wrong = list(proof.problems(keys, parents))
    for sentence in wrong:
        log.info("  wrong       %s", sentence)
    if wrong:
        more = f" (and {len(wrong) - 1} more, named above)" if len(wrong) > 1 else ""
        raise RecipeError(f"{recipe.path}: `evaluations`: {wrong[0]}{more}")
