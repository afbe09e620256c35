"""`moxin verify` and `moxin replay`: a result read again from the Hub, and made again.

They end with exit code 1 where something is not as it was.
"""

import argparse
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def add_to(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds it to the command line; `command` makes a parser of a name, a help and an action."""
    verify = command("verify", "Read a result and all it was made of again, from the Hub.", _verify)
    what = verify.add_mutually_exclusive_group(required=True)
    what.add_argument("repository", nargs="?", metavar="REPO[@REVISION]")
    what.add_argument("--list", type=Path, metavar="FILE", help="with --alive: anybody's links")
    verify.add_argument("--alive", action="store_true", help="ask only whether all still answers")
    replay = command("replay", "Make a result again from its manifest, and compare.", _replay)
    replay.add_argument("repository", metavar="REPO@REVISION")
    replay.add_argument("--out", type=Path, metavar="DIR", help="an empty folder to do it in")
    replay.add_argument(
        "--trust-code",
        metavar="ADDRESS@COMMIT[+sha256:DIGEST]",
        help="run the code that made it, where that is not this code",
    )
    replay.add_argument("--score", metavar="NAME", help="make only this number of its card again")
    for one in (verify, replay):
        one.add_argument("--hub", help="local, hf, or the URL of a Hub")
        one.add_argument("--namespace", help="namespace of repositories named without one")


def _verify(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session

    if options.list and not options.alive:
        raise RecipeError("--list: it goes with --alive; a list says nothing of what was there")
    session.start()
    if options.list:
        _list(options.list)
    else:
        _chain(options.repository, options.alive)


def _replay(options: argparse.Namespace) -> None:
    from moxin_recipes import environment
    from moxin_recipes.audit import replay
    from moxin_recipes.hub import session

    session.start()
    if options.score:
        from moxin_recipes.audit import rescore

        score = rescore.again(options.repository, options.score)
        word = "the same" if score.holds else "different"
        sys.stdout.write(f"{options.repository} {options.score}: {score}: {word}\n")
        if not score.holds:
            sys.exit(1)
        return
    name = re.sub(r"[^\w.-]+", "-", options.repository)
    folder = options.out or environment.home() / "replays" / name
    found = replay.replay(options.repository, folder.absolute(), options.trust_code)
    for line in found.lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{options.repository}: {found.word}\n")
    if not found.holds:
        sys.exit(1)


def _chain(repository: str, alive: bool) -> None:
    from rich.filesize import decimal

    from moxin_recipes.audit import verify

    walk = verify.Walk(alive=alive)
    for line in walk.run(verify.start(repository)):
        log.info("%s", line)
    report = walk.report
    code = "that the code makes these bytes (`moxin replay`)"
    held = ["what the files hold (leave out --alive)"] if alive else []
    cards = "scores that came to a card later (`moxin scores`)"
    for text in (*report.unchecked, *held, cards, code):
        sys.stdout.write(f"not checked: {text}\n")
    for text in report.faults:
        sys.stdout.write(f"fault: {text}\n")
    read = "asked for" if alive else f"{decimal(report.size)} read"
    found = f"{len(report.faults)} faults" if report.faults else "all is as it was"
    sys.stdout.write(f"{report.revisions} revisions, {report.files} files, {read}: {found}\n")
    if report.faults:
        sys.exit(1)


def _list(file: Path) -> None:
    from moxin_recipes.audit import alive

    links, gone = alive.links(file), 0
    for link, why in alive.dead(links):
        if why:
            gone += 1
            sys.stdout.write(f"dead: {link}: {why}\n")
    sys.stdout.write(f"{len(links) - gone:,} of {len(links):,} answer\n")
    if gone:
        sys.exit(1)
