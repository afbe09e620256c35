"""The state of a training goes to the Hub without pickle, and from there alone a run goes on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tests.training.pretraining import Pretraining
from tests.warm import wait_for

from moxin_recipes.hub.manifest import sha256_file

MUON = {"optimizer": "muon", "embedding_learning_rate": 1e-2, "head_learning_rate": 1e-3}
NUMBERS = {"max_steps": 30, "save_steps": 5}
BRANCHES = """
import sys
from huggingface_hub import HfApi, snapshot_download
for branch in HfApi().list_repo_refs("local/" + sys.argv[1]).branches:
    print(branch.name, snapshot_download("local/" + sys.argv[1], revision=branch.name))
"""
CHANGE = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download
repo, newest, second, third = "local/" + sys.argv[1], *sys.argv[2:]
api = HfApi()
def put(branch, name, content):
    api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo, revision=branch)
path = hf_hub_download(repo, "optimizer.safetensors", revision=newest)
content = bytearray(open(path, "rb").read())
content[-1] ^= 1
put(newest, "optimizer.safetensors", bytes(content))
path = hf_hub_download(repo, "moxin.json", revision=second)
told = json.load(open(path))
told["libraries"]["torch"] = "1.0"
put(second, "moxin.json", json.dumps(told).encode())
put(third, "moxin.json", b'{"unfinished": "the push of this repository has not ended"}')
"""


def killed(pretraining: Pretraining, repo: str, step: int, **changes: Any) -> Path:
    """The recipe of a run that was killed when the state of `step` was on the Hub; nothing else."""
    recipe = pretraining.recipe(repo, push_training_state=True, **NUMBERS, **changes)
    folder = pretraining.folder(repo)
    (process,) = pretraining.start(recipe)
    while not list(folder.glob("state-*/outbox")):
        assert process.running(), process.log.read_text()
    (outbox,) = folder.glob("state-*/outbox")
    wait_for(outbox / f"state-phase-step-{step:06d}.sent", process)
    process.kill()
    shutil.rmtree(folder)
    return recipe


def result(folder: Path) -> tuple[str, str]:
    """Digest of the weights, and of all that the stage pushed."""
    payload = json.loads((folder / "moxin.json").read_text())["payload"]
    return sha256_file(folder / "model.safetensors"), payload


def branches(pretraining: Pretraining, repo: str) -> dict[str, Path]:
    lines = pretraining.ask(BRANCHES, repo).splitlines()
    return {name: Path(folder) for name, folder in (line.split() for line in lines)}


@pytest.mark.parametrize("optimizer", [{}, MUON], ids=["adamw", "muon"])
def test_from_the_hub_alone_another_folder_ends_with_the_same_weights(
    pretraining: Pretraining, optimizer: dict[str, Any]
) -> None:
    kind = optimizer.get("optimizer", "adamw")
    calm, repo = f"state-calm-{kind}", f"state-{kind}"
    pretraining.run(pretraining.recipe(calm, **NUMBERS, **optimizer))
    killed(pretraining, repo, 10, **optimizer)
    elsewhere = pretraining.folder(f"{repo}-elsewhere")
    recipe = pretraining.recipe(
        repo,
        **NUMBERS,
        **optimizer,
        push_training_state=True,
        keep_checkpoints=2,
        output_dir=str(elsewhere),
    )
    log = pretraining.run(recipe)
    assert f"fetching local/{repo}@state-phase-step-0000" in log
    assert f"going on from {elsewhere}/state-" in log
    assert result(elsewhere) == result(pretraining.folder(calm))
    there = branches(pretraining, repo)
    steps = ["phase-step-000025", "phase-step-000030"]
    assert set(there) == {"main", *steps, *(f"state-{step}" for step in steps)}
    _no_pickle(there["state-phase-step-000030"])
    # What is done is made anew on purpose.
    shutil.rmtree(elsewhere)
    (process,) = pretraining.start(recipe)
    wait_for(elsewhere / "checkpoint-5", process) if False else process.kill()


def _no_pickle(folder: Path) -> None:
    """Each file is a text or safetensors, and what goes on is there."""
    names = {path.name for path in folder.iterdir()}
    assert {"optimizer.safetensors", "scheduler.json", "rng_state.json"} <= names
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                assert list(file.keys())
        else:
            path.read_text(encoding="utf-8")
            assert path.suffix not in (".pt", ".pth", ".bin")
