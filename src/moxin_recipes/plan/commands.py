"""`moxin plan`: what a ladder takes on given machines."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def add_to(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds it to the command line; `command` makes a parser of a name, a help and an action."""
    plan = command("plan", "Say what a ladder takes on given machines; nothing is run.", _plan)
    plan.add_argument("ladder", type=Path)
    plan.add_argument("--gpu", required=True, metavar="NAME", help="h100, a100, … (docs/plan.md)")
    plan.add_argument("--nodes", type=int, required=True)
    plan.add_argument("--gpus-per-node", type=int, required=True)
    plan.add_argument("--mfu", type=float, help="share of the peak that training reaches, e.g. .4")
    plan.add_argument("--price", type=float, help="of one GPU for an hour; no price without it")
    plan.add_argument("--json", action="store_true")


def _plan(options: argparse.Namespace) -> None:
    from rich.console import Console

    from moxin_recipes.plan import gpus, plan, table

    machines = plan.Machines(
        gpus.find(options.gpu), options.nodes, options.gpus_per_node, options.mfu, options.price
    )
    planned = plan.plan(options.ladder, machines, lambda stage: log.info("planning %s", stage))
    if options.json:
        sys.stdout.write(json.dumps(plan.as_json(planned), indent=1) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(table.table(planned, machines))
        for note in table.notes(planned, machines.gpu):
            console.print(note, highlight=False, soft_wrap=True)
    wrong = [one.wrong for one in planned if one.wrong]
    if wrong:
        more = f" (and {len(wrong) - 1} more stages)" if len(wrong) > 1 else ""
        raise RecipeError(f"{wrong[0]}{more}")
