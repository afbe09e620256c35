"""Pretraining that is killed at random moments ends with the weights of an undisturbed run."""

import json
import random
import time
from pathlib import Path

import pytest
from tests.training.pretraining import Pretraining
from tests.warm import wait_for

from moxin_recipes.hub.manifest import sha256_file


def weights(folder: Path) -> str:
    return sha256_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(pretraining: Pretraining) -> tuple[str, float]:
    """Digest of the weights of a run that nothing disturbs, and its seconds of training."""
    recipe = pretraining.recipe("calm", push_checkpoints=False)
    began = time.monotonic()
    pretraining.run(recipe)
    return weights(pretraining.folder("calm")), time.monotonic() - began


def sealed(folder: Path) -> bool:
    """Whether a whole checkpoint lies there, by its own list of digests."""
    for seal in folder.glob("state-*/checkpoint-*/moxin.json"):
        files = [
            (seal.parent / name, d) for name, d in json.loads(seal.read_text())["files"].items()
        ]
        if all(path.exists() and sha256_file(path) == digest for path, digest in files):
            return True
    return False


def kill_and_resume(pretraining: Pretraining, repo: str, seconds: float, kills: int) -> int:
    """Interrupts the stage `kills` times at seeded moments, then lets it end; resumptions seen.

    A moment is anywhere in a whole run: while it starts, trains, saves or ends. One that comes
    after the end of a run does not count, and the stage begins anew. Where a whole checkpoint was
    left, the next start has to go on from it, if it comes to its training.
    """
    moments, recipe = random.Random(repo), pretraining.recipe(repo, push_checkpoints=False)
    resumed = 0
    there = False
    while kills:
        (process,) = pretraining.start(recipe)
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        kills -= process.running()
        process.kill()
        log = process.log.read_text()
        resumed += "going on from" in log
        assert ("going on from" in log) == there or "left, loss" not in log, log
        there = sealed(pretraining.folder(repo))
    assert ("going on from" in pretraining.run(recipe)) == there
    return resumed + there


def kill_after(pretraining: Pretraining, recipe: Path, repo: str, step: int) -> None:
    """Starts the stage and ends it once the checkpoint of `step` is sealed."""
    (process,) = pretraining.start(recipe)
    while not list(pretraining.folder(repo).glob("state-*")):
        assert process.running(), process.log.read_text()
        time.sleep(0.005)
    wait_for(pretraining.checkpoint(repo, step) / "moxin.json", process)
    process.kill()


def test_killed_at_random_moments(pretraining: Pretraining, undisturbed: tuple[str, float]) -> None:
    digest, seconds = undisturbed
    kill_and_resume(pretraining, "killed", seconds, kills=2)
    assert weights(pretraining.folder("killed")) == digest


def test_killed_with_a_flipped_byte_and_a_torn_checkpoint(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    recipe = pretraining.recipe("flipped", push_checkpoints=False, save_total_limit=6)
    kill_after(pretraining, recipe, "flipped", 40)
    seals = sorted(
        pretraining.checkpoint("flipped", 40).parent.glob("checkpoint-*/moxin.json"),
        key=lambda path: int(path.parent.name.split("-")[1]),
    )
    torn, flipped, intact = (path.parent for path in seals[::-1][:3])
    (torn / "moxin.json").unlink()
    content = bytearray((flipped / "optimizer.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (flipped / "optimizer.pt").write_bytes(content)
    log = pretraining.run(recipe)
    assert f"{torn} is not used: it was not written to its end" in log
    assert f"{flipped} is not used: optimizer.pt is not what was written" in log
    assert f"going on from {intact}" in log
    assert weights(pretraining.folder("flipped")) == undisturbed[0]
    state = json.loads((pretraining.folder("flipped") / "moxin.json").read_text())
    assert state["counts"]["steps passed over"] == 0


def test_reading_ahead_in_other_processes_changes_nothing(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    changes = {"dataloader_num_workers": 2, "push_checkpoints": False}
    recipe = pretraining.recipe("ahead", **changes)
    kill_after(pretraining, recipe, "ahead", 20)
    assert "going on from" in pretraining.run(recipe)
    assert weights(pretraining.folder("ahead")) == undisturbed[0]


@pytest.mark.soak
def test_killed_at_twenty_random_moments(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    digest, seconds = undisturbed
    assert kill_and_resume(pretraining, "killed-20", seconds, kills=20) > 0
    assert weights(pretraining.folder("killed-20")) == digest
