"""What `moxin verify` says; it ends with exit code 1 where something is not as it was."""

import logging
import sys
from pathlib import Path

from rich.filesize import decimal

from moxin_recipes.audit import alive
from moxin_recipes.audit import verify as verifying
from moxin_recipes.hub import session
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def verify(repository: str | None, file: Path | None, is_alive: bool) -> None:
    """Verifies a repository and all that it was made of, or asks whether links answer."""
    if file and not is_alive:
        raise RecipeError("--list: it goes with --alive; a list says nothing of what was there")
    session.start()
    if file:
        _list(file)
    else:
        _chain(str(repository), is_alive)


def _chain(repository: str, is_alive: bool) -> None:
    walk = verifying.Walk(alive=is_alive)
    for line in walk.run(verifying.start(repository)):
        log.info("%s", line)
    report = walk.report
    for text in report.unchecked:
        sys.stdout.write(f"not checked: {text}\n")
    if is_alive:
        sys.stdout.write("not checked: what the files hold (leave out --alive)\n")
    sys.stdout.write("not checked: that the code makes these bytes (`moxin replay`)\n")
    for text in report.faults:
        sys.stdout.write(f"fault: {text}\n")
    read = "asked for" if is_alive else f"{decimal(report.size)} read"
    found = f"{len(report.faults)} faults" if report.faults else "all is as it was"
    sys.stdout.write(f"{report.revisions} revisions, {report.files} files, {read}: {found}\n")
    if report.faults:
        sys.exit(1)


def _list(file: Path) -> None:
    links, gone = alive.links(file), 0
    for link, why in alive.dead(links):
        if why:
            gone += 1
            sys.stdout.write(f"dead: {link}: {why}\n")
    sys.stdout.write(f"{len(links) - gone:,} of {len(links):,} answer\n")
    if gone:
        sys.exit(1)
