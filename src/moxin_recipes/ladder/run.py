"""Runs a ladder: checks all recipes, skips what is done, launches the rest one by one."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from moxin_recipes.hub import own, pull, releases
from moxin_recipes.hub.session import MissingError
from moxin_recipes.ladder import launching, lengths, order, outputs, own_inputs
from moxin_recipes.ladder.state import restore_tags, state
from moxin_recipes.recipe import door
from moxin_recipes.recipe.fields import is_path
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


class StageFailed(RuntimeError):
    """A stage ended with an exit code that is not 0; it printed why."""


def run(
    folder: Path,
    *,
    start: str | None = None,
    only: list[str] | None = None,
    force: list[str] | None = None,
    accelerate_config: Path | None = None,
) -> None:
    """Runs every stage that is not done, each in its own `accelerate launch`.

    Nothing is launched before all recipes are checked, the inputs of all stages are there or will
    be made by a stage before them, and this machine has what the launcher's files ask for. Then
    files and folders of this machine that the recipes name go to the Hub.
    """
    recipes = order.read(folder)
    todo = order.chosen(recipes, start, only or [], force or [])
    files = {recipe.name: launching.file_of(recipe, accelerate_config) for recipe in recipes}
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
        problems += missing_machines(recipe, files[recipe.name], recipe.name in (force or []))
        if recipe.name in (force or []):
            pinned_by_releases(recipe, files[recipe.name])
        if problems:
            raise RecipeError(f"{recipe.path}: {'; also '.join(problems)}")
    own.bring(owns)
    for recipe in todo:
        file = files[recipe.name]
        launcher = launching.launcher_of(recipe, file)
        before = state(recipe, launcher)
        if before.done and recipe.name not in (force or []):
            restore_tags(before)
            log.info("%-22s done already (%s)", recipe.name, str(before.commit)[:12])
            continue
        log.info("%-22s starts", recipe.name)
        launch(recipe, file, launcher.processes)


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


def launch(recipe: Recipe[Any], file: Path, processes: int) -> None:
    """Runs one stage to its end; on an interrupt its whole process group ends with us."""
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),  # `accelerate-launch`
        "--quiet",  # the stage says what went wrong; the launcher's own traceback adds nothing
        *("--num_cpu_threads_per_process", str(_threads(processes))),
        *("--config_file", str(file), "-m", f"moxin_recipes.stages.{recipe.stage}"),
        *("--config", str(recipe.path)),
    ]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if code:
        raise StageFailed(
            f"{recipe.name} ended with exit code {code}; "
            "what is done stays, and the same command goes on from there"
        )


def _threads(processes_here: int) -> int:
    """CPU threads of each process: OMP_NUM_THREADS, else an equal share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS")
    return int(given) if given else max(1, len(os.sched_getaffinity(0)) // processes_here)
