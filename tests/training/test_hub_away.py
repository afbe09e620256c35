"""The Hub is down for the whole middle of a run: every revision arrives, and none is torn."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.training.pretraining import Pretraining
from tests.warm import Process, wait_for

STEPS = [10, 20, 30, 40, 50, 60, 70, 80]
NUMBERS = {"max_steps": 80, "save_steps": 10}
READ_REVISIONS = """
import hashlib, json, sys
from pathlib import Path
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM
found = {}
repo = "local/" + sys.argv[1]
for branch in HfApi().list_repo_refs(repo).branches:
    folder = Path(snapshot_download(repo, revision=branch.name))
    AutoModelForCausalLM.from_pretrained(folder)
    manifest = json.loads((folder / "moxin.json").read_text())
    for name, facts in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
    found[branch.name] = [manifest["payload"], manifest["summary"]]
print(json.dumps(found))
"""


def wait_for_any(folder: Path, pattern: str, process: Process) -> None:
    while not list(folder.glob(pattern)):
        assert process.running(), process.log.read_text()[-3000:]
        time.sleep(0.005)


@pytest.fixture(scope="module")
def undisturbed(pretraining: Pretraining) -> dict[str, list[str]]:
    """Branch → payload and summary, where the Hub was up all the time."""
    pretraining.run(pretraining.recipe("up", **NUMBERS))
    return revisions_on_hub(pretraining, "up")


def revisions_on_hub(pretraining: Pretraining, repo: str) -> dict[str, list[str]]:
    revisions: dict[str, list[str]] = json.loads(
        pretraining.ask(READ_REVISIONS, repo).splitlines()[-1]
    )
    return revisions


@pytest.mark.parametrize("killed", [False, True], ids=["it waits at its end", "killed meanwhile"])
def test_everything_arrives(
    pretraining: Pretraining, undisturbed: dict[str, list[str]], killed: bool
) -> None:
    repo = f"away-{killed}".lower()
    recipe, folder = pretraining.recipe(repo, **NUMBERS), pretraining.folder(repo)
    (process,) = pretraining.start(recipe)
    wait_for_any(folder, "state-*/outbox/phase-step-000010.json", process)
    os.kill(process.pid, signal.SIGSTOP)  # or the run would be over before the Hub is down
    pretraining.take_hub_down()
    os.kill(process.pid, signal.SIGCONT)
    wait_for(pretraining.checkpoint(repo, 70) / "moxin.json", process)
    if killed:
        process.kill()
        waiting = {path.name for path in folder.glob("state-*/outbox/phase-*") if path.is_dir()}
        assert "phase-step-000050" in waiting
        assert not pretraining.checkpoint(repo, 50).exists()  # it is in the queue only
        pretraining.bring_hub_up()
        pretraining.run(recipe)
    else:
        wait_for(folder / "model.safetensors", process)
        assert process.running()
        pretraining.bring_hub_up()
        assert process.wait() == 0, process.log.read_text()[-3000:]
        assert "the Hub at http://127.0.0.1" in process.log.read_text()
    revisions = revisions_on_hub(pretraining, repo)
    assert set(revisions) == {"main", *(f"phase-step-{step:06d}" for step in STEPS)}
    assert revisions == undisturbed
