"""A folder of recipes, run in the order of their names: skip, launch, resume."""

import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moxin_recipes.recipe import filling, reading
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


class StageFailed(RuntimeError):
    """A stage ended with an exit code that is not 0; it printed why."""


@dataclass(frozen=True)
class State:
    """What the Hub says of a stage: its key, and the commit tagged done for it, if any."""

    recipe: Recipe
    key: str | None
    commit: str | None
    manifest: dict[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether the stage's last push of this very key is on the Hub."""
        return self.commit is not None


def read(folder: Path) -> list[Recipe]:
    """The recipes of a ladder, in the order of their names."""
    paths = sorted(p for p in folder.glob("*.yaml") if re.match(r"\d\d-", p.name))
    if not paths:
        raise RecipeError(f"{folder}: no recipes there (files such as 30-sft.yaml)")
    return [reading.load(path) for path in paths]


def check_references(recipes: list[Recipe]) -> list[reading.Reference]:
    """The inputs that no earlier recipe makes; a tag that none of them will set is an error."""
    made: dict[str, set[str]] = {}
    outside = []
    for of in recipes:
        for reference in of.references:
            tags = made.get(reference.repo)
            if tags is None:
                outside.append(reference)
            elif reference.revision not in tags | {"main"}:
                raise RecipeError(
                    f"{of.path}: `{reference.key}`: no earlier stage makes "
                    f"{reference.repo}@{reference.revision} (there are {', '.join(sorted(tags))})"
                )
        for repo in of.outputs.values():
            made.setdefault(repo, set()).add(of.tag)
    return outside


def check_mixtures(recipes: list[Recipe]) -> None:
    """Mixtures name sources of the ladder's data stage, with weights that sum to 1."""
    known = {s["name"] for of in recipes for s in of.values.get("sources", [])}
    for of in recipes:
        items = of.values.get("mixture", [])
        for position, item in enumerate(items):
            if known and item["source"] not in known:
                raise RecipeError(
                    f"{of.path}: `mixture[{position}].source`: {item['source']} is no source "
                    f"of this ladder ({', '.join(sorted(known))})"
                )
            start, stop = item.get("start", 0.0), item.get("stop", 1.0)
            if not 0 <= start < stop <= 1:
                raise RecipeError(
                    f"{of.path}: `mixture[{position}]`: a part of a source goes from a `start` of "
                    f"0 or more to a larger `stop` of 1 at most, not from {start:g} to {stop:g}"
                )
        total = sum(item["weight"] for item in items)
        if items and (abs(total - 1) > 1e-6 or min(item["weight"] for item in items) <= 0):
            raise RecipeError(
                f"{of.path}: `mixture`: the weights are shares above 0 that sum to 1, "
                f"not to {total:g}"
            )


def check_rewards(recipes: list[Recipe]) -> None:
    """Each reward has a name of ours, or an import path that leads to a function."""
    from moxin_recipes import rewards

    for of in recipes:
        try:
            rewards.check(of.values.get("rewards", ["math"]))
        except RecipeError as error:
            raise RecipeError(f"{of.path}: {error}") from error


def state(of: Recipe) -> State:
    """Resolves the inputs of a recipe, and looks for the push that its key names.

    A stage with an input that does not exist yet has no key. All its repositories must be tagged;
    the first one is the one that is shown.
    """
    from moxin_recipes.hub import pull
    from moxin_recipes.hub.session import MissingError, qualified

    try:
        parents = [pull.resolve(reference) for reference in of.references]
    except MissingError:
        return State(of, None, None, None)
    key = of.key([(parent.key, parent.payload) for parent in parents])
    commits = {
        output: pull.commit_of(qualified(repo), reading.output_type(output), f"done-{key[:12]}")
        for output, repo in of.outputs.items()
    }
    if not commits or not all(commits.values()):
        return State(of, key, None, None)
    main = next(iter(commits))
    commit = str(commits[main])
    manifest = pull.read_manifest(qualified(of.outputs[main]), reading.output_type(main), commit)
    return State(of, key, commit, manifest)


def restore_tags(found: State) -> None:
    """Points the stage's tag at its done commit again, where a later run of another key moved it.

    So a number that is changed and changed back needs no second training.
    """
    from moxin_recipes.hub import pull
    from moxin_recipes.hub.push import move_tag
    from moxin_recipes.hub.session import qualified

    for output, repo in found.recipe.outputs.items():
        kind = reading.output_type(output)
        done = pull.commit_of(qualified(repo), kind, f"done-{str(found.key)[:12]}")
        move_tag(qualified(repo), kind, found.recipe.tag, str(done))


def chosen(
    recipes: list[Recipe], start: str | None, only: list[str], force: list[str]
) -> list[Recipe]:
    """The recipes to look at, by `--from` and `--only`; a name nobody has is an error."""
    names = [of.name for of in recipes]
    for name in [*([start] if start else []), *only, *force]:
        if name not in names:
            raise RecipeError(f"no stage {name} in this ladder; it has {', '.join(names)}")
    begun = recipes[names.index(start) :] if start else recipes
    return [of for of in begun if not only or of.name in only]


def run(
    folder: Path,
    *,
    start: str | None = None,
    only: list[str] | None = None,
    force: list[str] | None = None,
    accelerate_config: Path | None = None,
) -> None:
    """Runs every stage that is not done, each in its own `accelerate launch`."""
    recipes = read(folder)
    todo = chosen(recipes, start, only or [], force or [])
    for of in recipes:
        reading.check(of)
    check_references(recipes)
    check_mixtures(recipes)
    check_rewards(recipes)
    for of in todo:
        if of.stage in reading.TRAINING_STAGES:
            filling.batches(of, processes(launcher_file(of, accelerate_config)))
    for of in todo:
        found = state(of)
        if found.done and of.name not in (force or []):
            restore_tags(found)
            log.info("%-22s done already (%s)", of.name, str(found.commit)[:12])
            continue
        log.info("%-22s starts", of.name)
        launch(of, launcher_file(of, accelerate_config))


def launcher_file(of: Recipe, given: Path | None = None) -> Path:
    """The accelerate config of a stage: the recipe's, or for training stages the one given.

    RecipeError if it is not there, or shards matrices that the recipe's optimizer needs whole.
    """
    own = of.values.get("accelerate_config", "accelerate_configs/cpu.yaml")
    name = Path(given if given and of.stage in reading.TRAINING_STAGES else own)
    for base in (Path.cwd(), of.path.resolve().parent.parent.parent):
        if (base / name).is_file():
            if of.values.get("optimizer") == "muon" and _content(base / name).get("fsdp_config"):
                raise RecipeError(
                    f"{of.path}: `optimizer: muon` needs whole matrices, and {name} gives each "
                    "process a part of them; take `optimizer: adamw`, or a file without FSDP"
                )
            return base / name
    raise RecipeError(f"{of.path}: `accelerate_config`: there is no file {name}")


def processes(launcher: Path) -> int:
    """Number of processes that an accelerate config starts."""
    return int(_content(launcher).get("num_processes", 1))


def _content(launcher: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(launcher.read_text(encoding="utf-8")))


def _threads(processes_here: int) -> int:
    """CPU threads of each process: OMP_NUM_THREADS, else an equal share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS")
    return int(given) if given else max(1, len(os.sched_getaffinity(0)) // processes_here)


def launch(of: Recipe, launcher: Path) -> None:
    """Runs one stage to its end; on an interrupt its whole process group ends with us."""
    command = [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
        "--quiet",  # the stage says what went wrong; the launcher's own traceback adds nothing
        *("--num_cpu_threads_per_process", str(_threads(processes(launcher)))),
        *("--config_file", str(launcher), "-m", f"moxin_recipes.stages.{of.stage}"),
        *("--config", str(of.path)),
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
            f"{of.name} ended with exit code {code}; "
            "what is done stays, and the same command goes on from there"
        )
