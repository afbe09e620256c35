"""The folder of a stage's unfinished work: whose it is, and what becomes of other work there.

A stage works in `state-KEY12` of its `output_dir`. Runs that differ in *rounding* and *harmless*
values alone have one key, so they share that folder and go on from its checkpoints. A run with
another *result* value has a folder of its own; the other one stays until somebody removes it.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from moxin_recipes.recipe.identity import Identity
from moxin_recipes.recipe.strict import RecipeError

STEPS = "steps"  # in a stage's folder: what its next run need not make again
SEAL = "moxin.json"  # in a checkpoint: key, values, seconds, and the digest of each file


@dataclass(frozen=True)
class Leftover:
    """Unfinished work under other values: its folder, and its last sealed checkpoint if any."""

    folder: Path
    checkpoint: Path | None

    @property
    def seal(self) -> dict[str, Any]:
        """What the checkpoint says of itself; empty where there is none."""
        return read_seal(self.checkpoint) if self.checkpoint else {}

    @property
    def bytes(self) -> int:
        """What the folder takes on the disk."""
        return folder_bytes(self.folder)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def state_folder(stage_folder: Path, key: str) -> Path:
    """Where a run of this key keeps its unfinished work."""
    return stage_folder / f"state-{key[:12]}"


def adopt(stage_folder: Path, identity: Identity) -> Path:
    """The state folder of a run, made if it is not there.

    One that the first form of keys named is the same work, and gets the name of today.
    """
    folder = state_folder(stage_folder, identity.key)
    before = state_folder(stage_folder, identity.old_key)
    if before.is_dir() and not folder.exists():
        before.rename(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_seal(checkpoint: Path) -> dict[str, Any]:
    """The seal of a checkpoint that was written to its end."""
    seal: dict[str, Any] = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    return seal


def checkpoints(folder: Path) -> list[Path]:
    """The sealed checkpoints of a state folder, the oldest first."""
    sealed = [path.parent for path in folder.glob(f"checkpoint-*/{SEAL}")]
    return sorted(sealed, key=lambda path: int(path.name.split("-")[1]))


def leftovers(stage_folder: Path, identity: Identity) -> list[Leftover]:
    """The unfinished work of a stage that a run of this identity does not go on with."""
    current = [state_folder(stage_folder, key) for key in (identity.key, identity.old_key)]
    return [
        Leftover(folder, next(reversed(checkpoints(folder)), None))
        for folder in sorted(stage_folder.glob("state-*"))
        if folder.is_dir() and folder not in current
    ]


def goes_on(identity: Identity, seal: dict[str, Any]) -> str:
    """What a run says of the values that a checkpoint of its own was made under, or nothing."""
    changed = identity.differences(seal["values"]) if "values" in seal else {}
    if not changed:
        return ""
    names = ", ".join(f"`{name}` {change}" for name, change in changed.items())
    return f", under other values, which change no more than rounding: {names}"


def starts_anew(identity: Identity, stage_folder: Path) -> Iterator[str]:
    """A line for each checkpoint under other values, which a run that has none leaves alone."""
    for leftover in leftovers(stage_folder, identity):
        if leftover.checkpoint is None:
            continue
        values = leftover.seal.get("values")
        if values is None:
            reason = "it was made under other values, which it does not name"
        else:
            decisive = {
                name: change
                for name, change in identity.differences(values).items()
                if identity.class_of(name) == "result"
            }
            reason = ", ".join(f"`{name}` {change}" for name, change in decisive.items())
        yield (
            f"starts anew: {reason}; the checkpoint from before stays in {leftover.checkpoint} "
            "(`moxin status LADDER --remove-leftovers` deletes it)"
        )


def lock(stage_folder: Path) -> IO[str]:
    """Holds a stage's folder: two runs of one stage at a time would mix their files.

    RecipeError where another process holds it.
    """
    held = (stage_folder / ".lock").open("w")
    try:
        # Of this process alone: what it forked, as a loader's workers, may outlive it a while.
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RecipeError(
            f"{stage_folder}: another process runs this stage; wait for it, or end it"
        ) from None
    return held


def remove(leftover: Leftover) -> None:
    """Deletes unfinished work under other values; RecipeError while the stage runs."""
    with lock(leftover.folder.parent):
        shutil.rmtree(leftover.folder)
