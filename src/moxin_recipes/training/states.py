"""The state of a training on the Hub: another machine, with nothing but the recipe, goes on.

Key `push_training_state`. The branch `state-step-000100` is a whole checkpoint of its own: weights,
optimizer, scheduler, random state and position, without pickle. The Hub stores the weights once,
whichever branches have them.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.files import clear
from moxin_recipes.hub.pull import STATE, commit_of, manifest_told
from moxin_recipes.hub.retention import alike, step
from moxin_recipes.hub.session import api, errors, qualified
from moxin_recipes.recipe.resume import read_seal
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training import intact, plain
from moxin_recipes.training.job import Job

log = logging.getLogger(__name__)

# Weights, configs and tokenizers may leave the machine. Torch files are pickles and may not.
SHARED = (".safetensors", ".json", ".jinja", ".txt", ".model")
POSITION = "trainer_state.json"
_FOLDER = "output_dir"  # which says something of one machine, and decides nothing
_RANDOM = "plain"  # a folder in a checkpoint, with its random states
_OURS = (POSITION, manifests.MANIFEST)
Manifest = dict[str, Any]


def model_files(checkpoint: Path) -> list[Path]:
    """Returns the files of a checkpoint that are the model."""
    return [
        path
        for path in sorted(checkpoint.iterdir())
        if path.is_file() and path.suffix in SHARED and path.name not in _OURS
    ]


def branch_of(run: Job, at: int) -> str:
    """The branch of the weights of a step."""
    branch = f"step-{at:06d}"
    # Several phases of pretraining share the repository.
    return f"{run.recipe.tag}-{branch}" if run.recipe.stage == "pretrain" else branch


def begin(checkpoint: Path) -> None:
    """Writes a checkpoint's random states without pickle; on the main thread (`plain.write`)."""
    folder = clear(checkpoint / _RANDOM)
    for path in plain.random_states(checkpoint):
        plain.write(path, folder)


def begin_all(run: Job, checkpoint: Path) -> None:
    """The same of one that was just written; RecipeError where another machine has a part."""
    there = len(plain.random_states(checkpoint))
    if there != run.processes:
        raise RecipeError(
            f"`push_training_state`: {checkpoint} has the random states of {there} of "
            f"{run.processes} processes; `output_dir` must be a folder that all machines share"
        )
    begin(checkpoint)


def is_begun(checkpoint: Path) -> bool:
    """Whether the state of a checkpoint can be written, on any thread."""
    return (checkpoint / _RANDOM).is_dir()


def write(checkpoint: Path, folder: Path) -> list[Path]:
    """The files of a checkpoint's state, which is begun; the rest is written to `folder`."""
    clear(folder)
    written = [file for path in plain.torch_files(checkpoint) for file in plain.write(path, folder)]
    random = sorted((checkpoint / _RANDOM).iterdir())
    return [*model_files(checkpoint), checkpoint / POSITION, *written, *random]


def facts(checkpoint: Path) -> Manifest:
    """What the manifest of a state says beside a checkpoint's: of its seal what is no file."""
    seal = read_seal(checkpoint)
    state = {
        "step": intact.step_of(checkpoint),
        "processes": len(plain.random_states(checkpoint)),
        "values": {name: v for name, v in seal["values"].items() if name != _FOLDER},
        "seconds": seal["seconds"],
    }
    return {"training_state": state}


def fetch_last(run: Job) -> Path | None:
    """Makes a checkpoint of the last whole state of this key on the Hub; on every rank.

    None where there is none, where the recipe pushes none, or where the stage is done: then it is
    made anew on purpose. States that are not used are named.
    """
    if not run.keys.push_training_state:
        return None
    return run.ranks.once("the state of the training on the Hub", lambda: _fetch_last(run))


def _fetch_last(run: Job) -> Path | None:
    repo = qualified(run.keys.hub_model_id)
    if commit_of(repo, "model", f"done-{run.identity.key[:12]}"):
        return None
    for branch, commit in _states(run, repo):
        told = manifest_told(repo, "model", commit) or {}
        reason = _fault(run, told, step(branch))
        if reason is None:
            log.info("fetching %s@%s%s", repo, branch, _elsewhere(run, told))
            folder = _download(run, repo, commit, told)
            reason = _changed(folder, told)
        if reason is None:
            return _as_checkpoint(run, folder, told)
        log.warning("%s@%s is not used: %s", repo, branch, reason)
    return None


def _states(run: Job, repo: str) -> Iterator[tuple[str, str]]:
    """Branch and commit of each state of this stage, the newest step first."""
    with errors(repo):
        if not api().repo_exists(repo):
            return
        refs = api().list_repo_refs(repo).branches
    named = alike(STATE + branch_of(run, 0))
    states = [(ref.name, str(ref.target_commit)) for ref in refs if named.fullmatch(ref.name)]
    yield from sorted(states, key=lambda state: -step(state[0]))


def _fault(run: Job, told: Manifest, at: int) -> str | None:
    """Why a state with this manifest cannot be gone on from, or None."""
    if "payload" not in told or "training_state" not in told:
        return "its push did not come to its end"
    if told["key"] != run.identity.key:
        return "it belongs to another recipe or other inputs" + _decisive(run, told)
    before, here = told["libraries"]["torch"], manifests.libraries()["torch"]
    if before != here:
        return f"torch {before} made it, and this is {here}"
    processes = told["training_state"]["processes"]
    if processes != run.processes:
        return f"it has the random states of {processes} processes, and {run.processes} run here"
    if told["training_state"]["step"] != at:
        return f"it is that of step {told['training_state']['step']}"
    names = [Path(name) for name in told["files"]]
    for name in names:
        if name.suffix not in SHARED or len(name.parts) != 1:
            return f"{name} is no file of a state"
    if manifests.payload_digest(told["files"]) != told["payload"]:
        return "its manifest is not what was written"
    return None


def _decisive(run: Job, told: Manifest) -> str:
    """The values that make another result, in words."""
    changed = {
        name: change
        for name, change in run.identity.differences(told["training_state"]["values"]).items()
        if run.identity.class_of(name) == "result"
    }
    return "".join(f", `{name}` {change}" for name, change in changed.items())


def _elsewhere(run: Job, told: Manifest) -> str:
    """What is said of a state that other hardware made."""
    now = manifests.hardware(run.processes)
    changed = [
        f"{name} {told['hardware'].get(name)} → {now[name]}"
        for name in ("instructions", "gpus", "threads")
        if told["hardware"].get(name) != now[name]
    ]
    if not changed:
        return ""
    return f"; made on other hardware, which rounds in its own way: {', '.join(changed)}"


def _download(run: Job, repo: str, commit: str, told: Manifest) -> Path:
    """The files of a state, as the Hub serves them now, in a folder of the run."""
    folder = clear(run.state / ".fetched")
    with errors(f"{repo}@{commit[:12]}"):
        # Beside the cache, which may hold them from before, and keeps what is big.
        api().snapshot_download(
            repo, revision=commit, allow_patterns=list(told["files"]), local_dir=folder
        )
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return folder


def _changed(folder: Path, told: Manifest) -> str | None:
    for name, wanted in told["files"].items():
        path = folder / name
        if not path.exists() or manifests.sha256_file(path) != wanted["sha256"]:
            return f"{name} is not what was written"
    return None


def _as_checkpoint(run: Job, folder: Path, told: Manifest) -> Path:
    """Makes a sealed checkpoint of a folder with the verified files of a state."""
    state = told["training_state"]
    plain.restore(folder)
    here = {name: value for name, value in run.identity.values.items() if name == _FOLDER}
    intact.seal(folder, told["key"], state["values"] | here, state["seconds"])
    checkpoint = run.state / f"checkpoint-{state['step']}"
    shutil.rmtree(checkpoint, ignore_errors=True)  # a broken one
    return folder.rename(checkpoint)
