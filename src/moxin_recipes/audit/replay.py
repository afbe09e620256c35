"""Makes a result again from its manifest: its code, its inputs at their commits, a fresh folder.

The inputs go to a Hub of the replay's own, which starts in that folder and ends with it. So no tag
of the Hub in use moves, and the code gets no token of its owner's.
"""

import logging
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moxin_recipes import environment
from moxin_recipes.audit import difference, told_by, verify
from moxin_recipes.audit.served import Revision, here
from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.code import code, pinned, public
from moxin_recipes.hub.files import write_json
from moxin_recipes.hub.pull import Parent, download
from moxin_recipes.recipe.fields import is_path
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
# Variables that a replay keeps: none can hold a token.
_KEPT = (
    *("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("CUDA_VISIBLE_DEVICES", "ATEN_CPU_CAPABILITY"),
)
# Whatever the user's git is told: the bytes are those of the commit and of the patch.
_ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHOWN = 12  # digits of a commit


@dataclass(frozen=True)
class Original:
    """What is to be made again: its pin, its manifest, and the key of its recipe that names it."""

    pin: Parent
    told: dict[str, Any]
    output: str

    @classmethod
    def of(cls, written: str) -> "Original":
        """Raises RecipeError for what no stage made, or made on the way."""
        pin = verify.start(written)
        told = Revision.of(pin).manifest()
        if told is None or not told_by.says_how(told):
            raise RecipeError(f"{written}: its {manifests.MANIFEST} does not say how it was made")
        walk = verify.Walk()
        for _ in walk.run(pin, alone=True):
            pass
        if walk.report.faults:
            raise RecipeError(f"{written}: it is not what was made: {walk.report.faults[0]}")
        name = pin.repo.partition("/")[2]
        outputs = {k: str(v) for k, v in told["recipe"].items() if k.startswith("hub_") and v}
        named = [key for key, repo in outputs.items() if repo.rpartition("/")[2] == name]
        if not named or verify.CHECKPOINT.search(pin.revision):
            raise RecipeError(f"{written}: it is no result of a stage; name one, such as REPO@sft")
        return cls(pin, told, named[0])

    @property
    def parents(self) -> list[Parent]:
        """The inputs, as they were pinned."""
        return told_by.parents(self.told["parents"]) or []

    def download(self, parent: Parent, patterns: list[str] | None = None) -> Path:
        """The folder of an input, which this Hub may have as a mirror has it."""
        return download(here(parent, self.pin.repo.partition("/")[0]), patterns)


def replay(written: str, folder: Path, trusted: str | None) -> difference.Verdict:
    """Makes REPOSITORY@REVISION again in an empty `folder`, and compares.

    `trusted` is ADDRESS@COMMIT of other code than this, with the digest of its patch (`pinned`).
    """
    original = Original.of(written)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder}: it is not empty; name another folder with --out")
    source = _source(original.told["code"], trusted, folder)
    folder.mkdir(parents=True, exist_ok=True)
    _seed(original, folder)
    made = _run(original, folder, source)
    files = manifests.payload_files(made)
    import torch  # noqa: F401 (the machine says what torch makes of it)

    now = {
        "files": files,
        "hardware": {
            **manifests.hardware(original.told["hardware"]["processes"]),
            "threads": original.told["hardware"]["threads"],
        },
        "installed": manifests.installed(),
        "launcher": original.told["launcher"],
    }
    return difference.verdict(original.told, now, (download(original.pin), made))


def _source(told: dict[str, Any], trusted: str | None, folder: Path) -> Path | None:
    """A checkout of the code that made it; None where that is the code that runs here.

    Raises RecipeError unless other code is trusted by its address, commit and patch.
    """
    ours = code()
    if all(ours[name] == told.get(name) for name in ("version", "commit", "patch")):
        return None
    commit, changes = str(told.get("commit")), str(told.get("patch") or "")
    if not _COMMIT.fullmatch(commit):
        raise RecipeError(
            f"made by moxin-recipes {told.get('version')} outside of a checkout, which is not the "
            f"code here ({ours['version']}); install that version"
        )
    named = told.get("address") or "an unnamed address"
    sys.stdout.write(_plain(f"made by commit {commit} of {named}\n"))
    if changes:
        sys.stdout.write(_plain(f"with these changes:\n{changes}\n"))
    sys.stdout.flush()
    if trusted is None:
        address = told.get("address") or "ADDRESS"
        raise RecipeError(
            f"other code made it than runs here ({str(ours['commit'])[:_SHOWN]}); to run that "
            f"code, give --trust-code {shlex.quote(_plain(f'{address}@{pinned(told)}'))}"
        )
    address, _, wanted = trusted.rpartition("@")
    if not address or wanted != pinned(told):
        raise RecipeError(
            f"--trust-code: it must be ADDRESS@{pinned(told)}, the code that made it"
            f"{' and the changes above' if changes else ''}"
        )
    if told.get("address") and public(address) != told["address"]:
        log.warning("%s is not the address that its manifest names", public(address) or "a folder")
    return _checkout(address, commit, changes, folder / "code")


def _plain(text: str) -> str:
    """A text of a stranger without what would steer a terminal."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in text
    )


def _checkout(address: str, commit: str, changes: str, folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    alone = {n: v for n, v in os.environ.items() if not n.startswith("GIT_")} | _ALONE
    for words, given in (
        (["clone", "--quiet", "--no-checkout", "--template=", "--", address, str(folder)], ""),
        (["-C", str(folder), "remote", "remove", "origin"], ""),  # its address may hold a password
        (["-C", str(folder), "checkout", "--quiet", commit], ""),
        *([(["-C", str(folder), "apply", "--whitespace=nowarn", "-"], changes)] if changes else []),
    ):
        done = subprocess.run(
            ["git", "-c", f"core.attributesFile={os.devnull}", *words],  # noqa: S607 (their git)
            input=given.encode(errors="replace"),
            # Only a clone needs what it is told: of keys, proxies and certificates.
            env={**(os.environ if words[0] == "clone" else alone), "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            said = re.sub(r"\w+://\S+", "ADDRESS", said)  # git keeps its query
            what = next(word for word in words if word in ("clone", "checkout", "remote", "apply"))
            raise RecipeError(f"--trust-code: git {what}: {said}")
    return folder


def _seed(original: Original, folder: Path) -> None:
    """The inputs on the replay's own Hub."""
    pins = []
    for parent in original.parents:
        log.info("%s@%s", parent.repo, parent.commit[:_SHOWN])
        came = original.download(parent)
        whole = manifests.payload_digest(manifests.payload_files(came))
        if (came / manifests.MANIFEST).exists() and whole != parent.payload:
            raise RecipeError(
                f"`{parent.key}`: what is in {came} is not {parent.repo}@{parent.commit[:_SHOWN]} "
                "as it was pinned; delete that folder, or see what `moxin verify` says"
            )
        pins.append({**parent.as_dict(), "folder": str(came)})
    write_json(folder / "pins.json", pins)
    command = [sys.executable, "-m", "moxin_recipes.audit.seed", str(folder / "pins.json")]
    _call(command, _environment(original, folder), Path.cwd(), "the inputs cannot be put together")


def _run(original: Original, folder: Path, source: Path | None) -> Path:
    """Runs the stage by its own code; the folder of the result."""
    told = original.told
    values = {**told["recipe"], "push_to_hub": False, "output_dir": str(folder / "result")}
    for parent in original.parents:
        name_pushed(values, parent)
    recipe = recipe_path(folder / "recipes", told["recipe_file"])
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    settings = folder / "launcher.yaml"
    settings.write_text(yaml.safe_dump(told["launcher"], sort_keys=False))
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--quiet"),
        *("--num_cpu_threads_per_process", str(told["hardware"]["threads"] or 1)),
        *("--config_file", str(settings), "-m", f"moxin_recipes.stages.{told['stage']}"),
        *("--config", str(recipe)),
    ]
    _call(command, _environment(original, folder, source), source or Path.cwd(), "it did not end")
    of_output = folder / "result" / original.output
    return of_output if of_output.is_dir() else folder / "result"


def recipe_path(folder: Path, written: str) -> Path:
    """LADDER/RECIPE of a manifest below `folder`, whatever path stands there."""
    names = ["ladder", "recipe.yaml", *Path(written).parts][-2:]
    plain = [re.sub(r"[^\w.-]|^\.+", "-", name)[-60:] for name in names]
    return folder.joinpath(*(name.removeprefix(".") or "-" for name in plain))


def name_pushed(values: dict[str, Any], parent: Parent) -> None:
    """A file of the machine that made it is read from where it was pushed."""
    key, _, place = parent.key.rstrip("]").partition("[")
    listed = values.get(key)
    at = int(place) if re.fullmatch(r"[0-9]{1,9}", place) else -1
    if not place:
        within, name = values, key
    elif isinstance(listed, list) and at in range(len(listed)) and isinstance(listed[at], dict):
        within, name = listed[at], "dataset"
    else:
        return
    if is_path(str(within.get(name))):
        within[name] = f"{parent.repo}@{parent.revision}"


def _environment(original: Original, folder: Path, source: Path | None = None) -> dict[str, str]:
    """Variables of the replay's processes: its own Hub, and no token of anybody's."""
    path, home = [str(source / "src")] if source else [], folder / "home"
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        **environment.variables_of(home),
        "HOME": str(folder),
        "MOXIN_HOME": str(home),
        "MOXIN_HUB": "local",
        "MOXIN_NAMESPACE": original.told.get("namespace") or original.pin.repo.partition("/")[0],
        "OMP_NUM_THREADS": str(original.told["hardware"]["threads"] or 1),
        "PYTHONPATH": os.pathsep.join(path),
    }


def _call(command: list[str], variables: dict[str, str], where: Path, failed: str) -> None:
    done = subprocess.run(command, env=variables, cwd=where, check=False)
    if done.returncode:
        raise RecipeError(f"{failed}: exit code {done.returncode}; it says why above")
