"""What a Job is told to do: get this very code from its public address, then run one stage."""

import base64
import gzip
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from moxin_recipes.hub import code
from moxin_recipes.recipe.strict import RecipeError

# What a Job reads beside src/ and recipes/, where changes are part of the patch.
_AS_COMMITTED = ("accelerate_configs", "requirements.txt", "pyproject.toml", "setup.cfg")
_UNPACK = "base64 -d | gzip -dc | git apply --whitespace=nowarn -"
_LARGEST = 100_000  # bytes of a patch in a variable; Linux gives one at most 131,072


@dataclass(frozen=True)
class Code:
    """This checkout as a Job gets it; `patch` is packed, "" for a clean tree."""

    address: str
    commit: str
    ladder: str  # its folder within the checkout
    patch: str

    def script(self, words: list[str]) -> str:
        """Shell: fetches and installs the code and its pinned libraries, then runs `moxin …`."""
        lines = [
            "set -e",
            'cd "$(mktemp -d)"',
            f"git clone --quiet {shlex.quote(self.address)} code",
            "cd code",
            f"git checkout --quiet {self.commit}",
            *([f'printf %s "$MOXIN_PATCH" | {_UNPACK}'] if self.patch else []),
            'printf %s "$MOXIN_LAUNCHER" > launcher.yaml',
            "python -m pip install --quiet --requirement requirements.txt",
            "python -m pip install --quiet --no-deps --no-build-isolation --editable .",
            f"exec moxin {shlex.join(words)} --accelerate-config launcher.yaml",
        ]
        return "\n".join(lines)


def of_ladder(ladder: Path) -> Code:
    """The code that runs here, with the ladder in it.

    What is changed and not committed under src/ and recipes/ goes along. RecipeError where a Job
    could not get it.
    """
    top, here = code.checkout(), code.code()
    if top is None or here["commit"] is None:
        raise RecipeError(
            "`--on`: a Job clones the code that runs here; run it from a git checkout"
        )
    try:
        within = ladder.resolve().relative_to(top / "recipes")
    except ValueError:
        raise RecipeError(
            f"`--on`: a Job gets recipes with the code, and {ladder} is not below {top}/recipes; "
            "move it there (it need not be committed)"
        ) from None
    if here["address"] is None:
        raise RecipeError(
            f"`--on`: a Job clones the code from its public address, and {top} has no remote "
            "`origin` with one; push it somewhere, and `git remote add origin URL`"
        )
    if not code.is_pushed(top, here["commit"]):
        raise RecipeError(
            f"`--on`: commit {here['commit'][:12]} is on no branch of the remote `origin`, where a "
            "Job would get it; `git push origin` first"
        )
    if changed := code.uncommitted(top, _AS_COMMITTED):
        raise RecipeError(
            f"`--on`: {top / changed[0]} is changed and not committed, and a Job would get it as "
            "it is in the commit, or not at all; commit it and `git push origin`, or undo that"
        )
    packed = gzip.compress(here["patch"].encode(), mtime=0) if here["patch"] else b""
    patch = base64.b64encode(packed).decode()
    if len(patch) > _LARGEST:
        raise RecipeError(
            f"`--on`: what is changed and not committed under {top}/src and /recipes is too much "
            "for a Job's variable; commit it and `git push`"
        )
    return Code(_https(here["address"]), here["commit"], f"recipes/{within.as_posix()}", patch)


def _https(address: str) -> str:
    """Where anybody can read what the owner reaches by ssh; other addresses stay."""
    owner, host = "(?:git@)?", r"(\[[^]]+\]|[^/:]+)"  # in brackets with colons of its own
    address = re.sub(rf"^ssh://{owner}{host}(?::\d+)?(?=/|$)", r"https://\1", address)
    return re.sub(rf"^git@{host}:", r"https://\1/", address)
