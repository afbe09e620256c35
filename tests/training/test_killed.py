"""Pretraining that is killed at random moments ends with the weights of an undisturbed run."""

import json
import random
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
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


# None of them changes what comes out.
HARMLESS = {
    "ddp_timeout": 7200,
    "dataloader_num_workers": 1,
    "dataloader_pin_memory": False,
    "save_steps": 7,
    "logging_steps": 3,
    "keep_checkpoints": 2,
    "max_skipped_steps": 5,
    "gpu_price": 2.0,
}


def test_killed_and_resumed_with_other_harmless_values(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    kill_after(
        pretraining,
        pretraining.recipe("harmless", push_checkpoints=False),
        "harmless",
        10 * random.randint(1, 3),
    )
    log = pretraining.run(pretraining.recipe("harmless", push_checkpoints=False, **HARMLESS))
    assert "under other values, which change no more than rounding: `dataloader_num_workers`" in log
    assert all(f"`{name}` " in log for name in HARMLESS)
    assert "`ddp_timeout` default → 7200" in log
    assert weights(pretraining.folder("harmless")) == undisturbed[0]


def test_killed_and_resumed_with_another_micro_batch(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    recipe = pretraining.recipe("micro", push_checkpoints=False)
    kill_after(pretraining, recipe, "micro", 20)
    recipe = pretraining.recipe("micro", push_checkpoints=False, per_device_train_batch_size=1)
    log = pretraining.run(recipe)
    assert "going on from" in log
    assert "`per_device_train_batch_size` 2 → 1" in log
    calm = load_file(pretraining.folder("calm") / "model.safetensors")
    for name, weight in load_file(pretraining.folder("micro") / "model.safetensors").items():
        torch.testing.assert_close(weight, calm[name], atol=1e-4, rtol=0)


def test_another_result_starts_anew_and_says_what_became_of_the_checkpoint(
    pretraining: Pretraining,
) -> None:
    recipe = pretraining.recipe("anew", push_checkpoints=False)
    kill_after(pretraining, recipe, "anew", 20)
    (before,) = pretraining.folder("anew").glob("state-*")
    stays = sorted(before.glob("checkpoint-*/moxin.json"))[-1].parent
    recipe = pretraining.recipe("anew", push_checkpoints=False, learning_rate=1e-3, ddp_timeout=9)
    log = pretraining.run(recipe)
    assert "going on from" not in log
    (line,) = (row for row in log.splitlines() if "starts anew" in row)
    assert "starts anew: `learning_rate` 0.003 → 0.001; the checkpoint from before stays" in line
    assert str(stays) in line
    status = pretraining.place.moxin("status", str(recipe.parent), "--hub", "local")
    assert (
        f"20-phase: {before} has a checkpoint of step {stays.name.split('-')[1]}" in status.stdout
    )
    (row,) = json.loads(
        pretraining.place.moxin("status", str(recipe.parent), "--hub", "local", "--json").stdout
    )
    assert row["state"] == "done"
    assert before.exists()
    pretraining.place.moxin("status", str(recipe.parent), "--hub", "local", "--remove-leftovers")
    assert not before.exists()


def test_a_checkpoint_of_the_first_form_is_gone_on_from(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    recipe = pretraining.recipe("first-form", push_checkpoints=False)
    kill_after(pretraining, recipe, "first-form", 20)
    (folder,) = pretraining.folder("first-form").glob("state-*")
    old_key = pretraining.ask(OLD_KEY, str(recipe)).strip()
    for seal in folder.glob("checkpoint-*/moxin.json"):
        said = json.loads(seal.read_text())
        del said["values"]
        seal.write_text(json.dumps({**said, "key": old_key}))
    folder.rename(folder.with_name(f"state-{old_key[:12]}"))
    log = pretraining.run(recipe)
    assert "going on from" in log
    assert weights(pretraining.folder("first-form")) == undisturbed[0]


OLD_KEY = """
import sys
from pathlib import Path
from moxin_recipes.hub import pull
from moxin_recipes.recipe.identity import identity
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import read
recipe = read(Path(sys.argv[1]))
parents = [pull.resolve(reference) for reference in recipe.references]
print(identity(recipe, [(p.key, p.payload) for p in parents], Launcher()).old_key)
"""


@pytest.mark.soak
def test_killed_at_twenty_random_moments(
    pretraining: Pretraining, undisturbed: tuple[str, float]
) -> None:
    digest, seconds = undisturbed
    assert kill_and_resume(pretraining, "killed-20", seconds, kills=20) > 0
    assert weights(pretraining.folder("killed-20")) == digest
