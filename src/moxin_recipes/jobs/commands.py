"""`moxin run … --on hf-jobs:FLAVOR`: the stages of a ladder as Hugging Face Jobs."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from moxin_recipes import environment
from moxin_recipes.recipe.fields import is_path
from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from moxin_recipes.ladder.run import Checked
    from moxin_recipes.ladder.state import State
    from moxin_recipes.recipe.reading import Recipe

_IMAGE = "python:3.12"  # it has git and a C compiler; the libraries bring CUDA's own
_PLACE = "hf-jobs:"


def add_to(run: argparse.ArgumentParser) -> None:
    """Adds the options to the parser of `moxin run`."""
    jobs = run.add_argument_group("on Hugging Face Jobs (docs/jobs.md)")
    jobs.add_argument("--on", metavar="hf-jobs:FLAVOR", help="one Job a stage: `hf jobs hardware`")
    jobs.add_argument("--yes", action="store_true", help="start without asking what may be paid")
    jobs.add_argument("--timeout", metavar="TIME", help="of each Job, as 8h; else by the plan")
    jobs.add_argument("--image", help=f"with git, Python and a C compiler; {_IMAGE} if not given")
    jobs.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable of this environment that Jobs get as a secret, beside HF_TOKEN",
    )


def wanted(options: argparse.Namespace) -> bool:
    """Whether the stages run as Jobs; RecipeError for options that cannot go together."""
    if options.on is None:
        for name in ("yes", "timeout", "image", "secret"):
            if getattr(options, name):
                raise RecipeError(f"`--{name}` is of Jobs; give --on {_PLACE}FLAVOR with it")
        return False
    if not options.on.startswith(_PLACE):
        raise RecipeError(f"`--on` is {_PLACE}FLAVOR, such as {_PLACE}a10g-large, not {options.on}")
    if environment.is_local():
        raise RecipeError(
            "`--on`: a Job cannot reach the embedded Hub of this machine; log in (`hf auth login`) "
            "and give --hub hf"
        )
    return True


def run(options: argparse.Namespace) -> "list[State]":
    """Runs what is not done, each stage in a Job of its own, after a yes to what it will cost.

    Returns the state of each stage of the ladder. RecipeError for what cannot run as a Job;
    StageFailed for a Job that ends otherwise than done; HubError where the Hub does not answer.
    """
    from moxin_recipes.jobs import code, cost, flavor, job
    from moxin_recipes.ladder import run as ladder
    from moxin_recipes.ladder import status

    limit = cost.hours(options.timeout) if options.timeout else None
    secrets = _secrets(options.secret)
    cloned = code.of_ladder(options.ladder)
    machine = flavor.find(options.on.removeprefix(_PLACE))
    checked = ladder.check(
        options.ladder,
        options.start,
        options.only,
        options.force,
        file_of=lambda recipe: machine.file_of(recipe, options.accelerate_config),
        missing=machine.missing,
    )
    todo = _to_do(checked)
    there = [(one.recipe, job.running(one)) for one in todo]
    found = [one for _, one in there if one]
    new = [recipe for recipe, one in there if not one]
    _prove_on_hub(new)
    files = {recipe.name: checked.files[recipe.name] for recipe in new}
    estimated = cost.estimates(options.ladder, machine, files, limit) if new else []
    if new:
        cost.show(estimated, machine)
    if new and not options.yes:
        cost.agree(len(new))
    timeouts = {one.stage: round(one.timeout * 3600) for one in estimated}
    image = options.image or _IMAGE
    checked.each(job.Jobs(checked, cloned, machine, image, secrets, timeouts, found).run)
    return status.states(options.ladder, options.accelerate_config)


def _to_do(checked: "Checked") -> "list[State]":
    """The stages that are not done, and those that read what one of them will make again.

    What these will be is not known yet: a Job that makes one now, makes it of other inputs.
    """
    from moxin_recipes.ladder import order
    from moxin_recipes.ladder.state import State

    todo: list[State] = []
    for recipe in checked.todo:
        now, before = checked.state(recipe), [one.recipe for one in todo]
        stale = any(order.makers(before, reference) for reference in recipe.references)
        if stale or not now.done or recipe.name in checked.force:
            todo.append(State(recipe, None) if stale else now)
    return todo


def _secrets(names: list[str]) -> dict[str, str]:
    """Name → value of what a Job gets as secrets: the Hub's token, and what was named."""
    from huggingface_hub import get_token

    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise RecipeError(f"`--secret {missing[0]}`: there is no such variable here; export it")
    token = get_token()
    if not token:
        raise RecipeError("`--on`: Jobs need a token of the Hub; log in (`hf auth login`)")
    return {name: os.environ[name] for name in names} | {"HF_TOKEN": token}


def _prove_on_hub(recipes: "list[Recipe[Any]]") -> None:
    """RecipeError where a stage reads files of this machine, which a Job does not have."""
    for recipe in recipes:
        for reference in recipe.references:
            if is_path(reference.repo):
                raise RecipeError(
                    f"{recipe.path}: `{reference.key}`: a Job has no {reference.repo}; put it on "
                    f"the Hub (`moxin hub add {reference.repo} --as NAMESPACE/REPO --type "
                    f"{reference.type} --hub hf`), and name that repository"
                )
