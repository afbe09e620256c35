"""Commands of the pages that no test runs whole: which, why, and what is proven of them instead.

Every other command runs as it stands (`test_page_commands.py`).
"""

import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import yaml
from tests.conftest import ROOT
from tests.test_launchers import slurm

from moxin_recipes import cli
from moxin_recipes.ladder import launching, order
from moxin_recipes.plan import memory
from moxin_recipes.plan.tracked import Held
from moxin_recipes.recipe import door
from moxin_recipes.recipe.reading import read


@dataclass(frozen=True)
class Rule:
    """`prove` gets a command that begins with `pattern`, and an empty folder; it raises."""

    pattern: str
    why: str
    prove: Callable[[str, Path], object]


def words(command: str) -> list[str]:
    """The words of a command without its comment."""
    return shlex.split(command, comments=True)


def rule_of(command: str) -> Rule | None:
    """The first rule that a command falls under; None for one that is run."""
    return next((rule for rule in RULES if re.match(rule.pattern, command)), None)


def _target(command: str, _: Path) -> None:
    dry = ["make", "--dry-run", "--file", str(ROOT / "Makefile"), *words(command)[1:]]
    done = subprocess.run(dry, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _packages(command: str, _: Path) -> None:
    """An extra is one of setup.cfg; another package is pinned as a recipe has it."""
    recipes = "".join(path.read_text() for path in ROOT.glob("recipes/**/*.yaml"))
    for word in words(command):
        if extra := re.fullmatch(r"\.\[(\w+)\]", word):
            assert f"\n{extra[1]} =" in (ROOT / "setup.cfg").read_text()
        elif "==" in word:
            assert f"package: {word}" in recipes


def _of_the_client(command: str, _: Path) -> None:
    """The Hub's client has the command."""
    program = Path(sys.executable).with_name("hf")
    asked = [str(program), *words(command)[1:], "--help"]
    assert subprocess.run(asked, capture_output=True).returncode == 0


def _parsed(command: str, _: Path) -> None:
    """The command line is taken, and the recipes that it names go through the one door."""
    options = cli.parser().parse_args(words(command)[1:])
    if ladder := getattr(options, "ladder", None):
        _proven(ROOT / ladder)
    if "only" in options:
        order.chosen(order.read(ROOT / options.ladder), options.start, options.only, options.force)


@functools.cache
def _proven(place: Path, *overrides: str) -> None:
    recipes = order.read(place) if place.is_dir() else [read(place, [*overrides])]
    for recipe in recipes:
        launcher = launching.launcher_of(recipe, launching.file_of(recipe))
        door.check(recipe, launcher, on_hardware=False)


def _launched(command: str, _: Path) -> None:
    """Stage, launcher's file and recipe are there and of each other, and the values are taken."""
    given = words(command)
    stage = given[given.index("-m") + 1]
    file, recipe = (given[given.index(key) + 1] for key in ("--config_file", "--config"))
    values = yaml.safe_load((ROOT / recipe).read_text())
    assert stage == f"moxin_recipes.stages.{values['stage']}"
    assert (ROOT / file).is_file()
    _proven(ROOT / recipe, *given[given.index("--config") + 2 :])


def _submitted(command: str, folder: Path) -> None:
    """The job's script comes to its launch, with stand-ins for Slurm; the recipe is proven."""
    given = words(command)
    at = given.index("slurm/launch.slurm")
    options = dict(zip(given[1:at:2], given[2:at:2], strict=True))
    assert set(options) <= {"--nodes", "--gpus-per-node"}
    recipe, *rest = given[at + 1 :]
    process, calls = slurm(
        folder, *rest, recipe=recipe, nodes=int(options["--nodes"]), srun='echo "$*" >> "$CALLS"'
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert recipe in calls.read_text()
    calls.unlink()
    _proven(ROOT / recipe, *rest)


def _planned(command: str, _: Path) -> None:
    """All of it but the count of memory, which `make soak` has."""
    assert planned(command)


def _of_a_ladder(command: str, folder: Path) -> None:
    """What a stage of moxin-7b would push."""
    _parsed(command, folder)
    recipes = order.read(ROOT / "recipes" / "moxin-7b")
    outputs = {repo for recipe in recipes for repo in recipe.outputs.values()}
    named = set(re.findall(r"moxin-7b-[\w-]+", command))
    assert named
    assert named <= outputs


def planned(command: str, counted: bool = False) -> str:
    """What `moxin plan` prints; where memory is not `counted`, a GPU holds next to nothing."""
    track = memory.track if counted else lambda *_: Held(1, 1, 1, 2**30)
    with (
        mock.patch("sys.argv", words(command)),
        mock.patch.object(memory, "track", track),
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        cli.main()
    return out.getvalue()


RULES = [
    Rule("make ", "each is a run of its own, of minutes to hours", _target),
    Rule("pip install ", "nothing is installed by a test", _packages),
    Rule("hf auth login", "an account of the public Hub", _of_the_client),
    Rule("sbatch ", "Slurm and GPUs", _submitted),
    Rule("accelerate launch .*/fsdp", "GPUs", _launched),
    Rule("moxin .* --on hf-jobs:", "a paid machine of the public Hub", _parsed),
    Rule("moxin .*(--(hub|from|to) hf|--online)( |$)", "the public Hub", _parsed),
    Rule("moxin replay .* --trust-code https:", "an address of somebody else", _parsed),
    Rule("moxin (verify|check --openness|compare) moxin-7b-", "nobody has made it", _of_a_ladder),
    Rule("moxin plan recipes/moxin-(7b|300m)", "counting the memory takes a minute", _planned),
    Rule("moxin run recipes/moxin-(7b|300m)", "GPUs, or days", _parsed),
    Rule("moxin run recipes/smollm2-", "weights out of another package, and minutes", _parsed),
]
