"""`moxin report`: a page of what a ladder has made."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from moxin_recipes.recipe.strict import RecipeError


def add_to(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds it to the command line; `command` makes a parser of a name, a help and an action."""
    report = command("report", "Write one page of what a ladder has made, from the Hub.", _report)
    report.add_argument("ladder", type=Path)
    report.add_argument("--out", type=Path, metavar="FILE", help="MOXIN_HOME/report/LADDER.html")
    report.add_argument("--accelerate-config", type=Path, metavar="FILE")
    report.add_argument("--hub", help="local, hf, or the URL of a Hub")
    report.add_argument("--namespace", help="namespace of repositories named without one")


def _report(options: argparse.Namespace) -> None:
    from moxin_recipes import environment
    from moxin_recipes.hub import session
    from moxin_recipes.ladder import status
    from moxin_recipes.views import report, stages

    session.start()
    name = options.ladder.resolve().name
    found = stages.read(status.states(options.ladder, options.accelerate_config))
    text = report.page(name, found)
    out = options.out or environment.home() / "report" / f"{name}.html"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"--out {out}: {error.strerror}; name a file to write") from error
    sys.stdout.write(f"report: {out}\n")
