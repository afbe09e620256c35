"""Finds the checkpoint to go on from: of this run's key, with every file as it was sealed.

All ranks read a share of its files, so 97 GB cost each of 64 ranks 1.5 GB. Nobody waits in a
collective meanwhile, whose time limit a slow disk would pass.
"""

import logging
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moxin_recipes.hub.files import write_json
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.recipe.resume import SEAL, read_seal
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training.job import Job

log = logging.getLogger(__name__)


def seal(checkpoint: Path, key: str, values: dict[str, Any], seconds: float) -> None:
    """Says in a checkpoint whose it is, and the digest of each of its files; its last file."""
    files = {
        path.relative_to(checkpoint).as_posix(): sha256_file(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    said = {"key": key, "values": values, "seconds": seconds, "files": files}
    write_json(checkpoint / SEAL, said)


def step_of(checkpoint: Path) -> int:
    """Returns the step after which `checkpoint-N` was written."""
    return int(checkpoint.name.split("-")[1])


def on_disk(run: Job) -> list[Path]:
    """Returns the checkpoints in the run's folder, intact or not, the oldest first."""
    return sorted(run.state.glob("checkpoint-*"), key=step_of)


def last_intact(run: Job) -> Path | None:
    """Returns the newest checkpoint with this run's key and unchanged files, on every rank.

    An older one is read only where the newer ones are broken.
    """
    for checkpoint in reversed(run.ranks.once("the list of checkpoints", lambda: on_disk(run))):
        reason = _fault_found_together(run, checkpoint)
        if reason is None:
            return checkpoint
        if run.is_main:
            log.warning("%s is not used: %s", checkpoint, reason)
    return None


def fault(run: Job, checkpoint: Path) -> str | None:
    """Returns why a checkpoint cannot be used, or None; this process reads all of it."""
    return _fault_of_seal(run, checkpoint) or _changed(checkpoint, read_seal(checkpoint)["files"])


def _fault_found_together(run: Job, checkpoint: Path) -> str | None:
    """Returns as `fault`, on every rank; each reads its share."""
    name = checkpoint.name
    reason = run.ranks.once(f"the seal of {name}", lambda: _fault_of_seal(run, checkpoint))
    if reason:
        return reason
    shares = run.ranks.once(f"the shares of {name}", lambda: _shares(checkpoint, run.ranks.size))
    mine = shares[run.ranks.rank]
    found = run.ranks.gather(f"the digests of {name}", lambda: _changed(checkpoint, mine))
    return next(filter(None, found), None)


def _fault_of_seal(run: Job, checkpoint: Path) -> str | None:
    if not (checkpoint / SEAL).exists():
        return "it was not written to its end"
    seal = read_seal(checkpoint)
    if seal["key"] not in (run.identity.key, run.identity.old_key):
        return "it belongs to another recipe or other inputs"
    missing = [name for name in seal["files"] if not (checkpoint / name).exists()]
    return f"{missing[0]} is not what was written" if missing else None


def _shares(checkpoint: Path, ranks: int) -> list[list[str]]:
    """Returns each rank's files, alike in bytes; a file is not divided."""
    sizes = {name: (checkpoint / name).stat().st_size for name in read_seal(checkpoint)["files"]}
    shares: list[list[str]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += sizes[name]
    return shares


def _changed(checkpoint: Path, names: Iterable[str]) -> str | None:
    """Returns the first of these files that is not what was sealed, in a sentence."""
    if not (checkpoint / SEAL).exists():
        raise RecipeError(
            f"`output_dir`: {socket.gethostname()} does not see {checkpoint}, which rank 0 sees; "
            "it must be a folder that all machines share"
        )
    digests = read_seal(checkpoint)["files"]
    for name in names:
        if not (checkpoint / name).exists() or sha256_file(checkpoint / name) != digests[name]:
            return f"{name} is not what was written"
    return None
