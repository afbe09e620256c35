"""What Jobs will cost, before they start: the plan's hours, and the Hub's price of the machine."""

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from moxin_recipes.jobs.flavor import Flavor
from moxin_recipes.plan import plan
from moxin_recipes.recipe.strict import RecipeError

_UNITS = {"m": 1 / 60, "h": 1.0, "d": 24.0}
_UNPLANNED = 6.0  # hours that a stage may take where the plan has none
_START = 1.0  # hours for its libraries, its inputs and its uploads


@dataclass(frozen=True)
class Estimate:
    """A Job to be started: hours by the plan, None where it has none, and its time-out, in hours.

    It costs at most its time-out.
    """

    stage: str
    hours: float | None
    timeout: float


def estimates(
    ladder: Path, flavor: Flavor, files: dict[str, Path], timeout: float | None
) -> list[Estimate]:
    """The stages of `files`, in order; RecipeError for one that does not fit on the machine.

    A time-out that is not given is twice the plan's hours and one for the start.
    """
    known: dict[str, float | None] = dict.fromkeys(files)
    if flavor.gpu:
        machines = plan.Machines(flavor.gpu, 1, flavor.gpus)
        for planned in plan.plan(ladder, machines, files=files):
            if planned.wrong:
                raise RecipeError(planned.wrong)
            known[planned.stage] = planned.hours
    return [
        Estimate(
            stage, one, timeout or (_UNPLANNED if one is None else math.ceil(2 * one) + _START)
        )
        for stage, one in known.items()
    ]


def hours(written: str) -> float:
    """`90m`, `8h`, `2d` → hours; RecipeError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", written)
    if not found or not float(found[1]):
        raise RecipeError(f"`--timeout` is a time such as 90m, 8h or 2d, not {written}")
    return float(found[1]) * _UNITS[found[2]]


def show(estimated: list[Estimate], flavor: Flavor) -> None:
    """Prints the table of what will be started, and what its numbers rest on."""
    price = "no price known" if flavor.price is None else f"${flavor.price:,.2f} an hour"
    drawn = Table(title=f"Jobs to start on hf-jobs:{flavor.name}, {price}")
    drawn.add_column("stage", overflow="fold")
    for name in ("hours", "about $", "time-out, h", "at most $"):
        drawn.add_column(name, justify="right", no_wrap=True)
    lines = [(one.stage, one.hours, one.timeout) for one in estimated]
    planned = [one.hours for one in estimated if one.hours is not None]
    total = ("all", sum(planned) if planned else None, sum(one.timeout for one in estimated))
    for stage, hours, timeout in [*lines, total]:
        paid = [_dollars(one, flavor.price) for one in (hours, timeout)]
        drawn.add_row(stage, _hours(hours), paid[0], _hours(timeout), paid[1])
        drawn.add_section() if stage == estimated[-1].stage else None
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(drawn)
    if len(planned) < len(estimated):
        of = "such stages" if flavor.gpu else flavor.model or "a CPU"
        console.print(f"–: `moxin plan` has no hours of {of} (docs/plan.md)", highlight=False)


def _hours(hours: float | None) -> str:
    return "–" if hours is None else f"{hours:,.2f}"


def _dollars(hours: float | None, price: float | None) -> str:
    return "–" if hours is None or price is None else f"{hours * price:,.2f}"


def agree(jobs: int) -> None:
    """Asks whether to start; RecipeError if not, and where nobody can answer."""
    what = "1 Job" if jobs == 1 else f"{jobs} Jobs, one after another"
    if not sys.stdin.isatty():
        raise RecipeError(f"`--on` would start {what}; nobody can say yes here: give --yes")
    try:
        answer = input(f"Start {what}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise RecipeError("nothing was started")
