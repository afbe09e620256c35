"""The state of a training goes to the Hub without pickle, and from there alone a run goes on."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.conftest import ROOT
from tests.training.pretraining import Pretraining
from tests.warm import wait_for
from transformers import TrainingArguments

from moxin_recipes.hub import manifest
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import STATE
from moxin_recipes.hub.retention import Retention
from moxin_recipes.ranks import Ranks
from moxin_recipes.recipe.identity import Identity
from moxin_recipes.recipe.keys.pretrain import MixtureItem, PretrainKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training import states

MUON = {"optimizer": "muon", "embedding_learning_rate": 1e-2, "head_learning_rate": 1e-3}
NUMBERS = {"max_steps": 12, "save_steps": 4, "push_training_state": True}
BRANCHES = """
import sys
from huggingface_hub import HfApi, snapshot_download
for branch in HfApi().list_repo_refs("local/" + sys.argv[1]).branches:
    print(branch.name, snapshot_download("local/" + sys.argv[1], revision=branch.name))
"""
CHANGE = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download
repo, (newest, second, third) = "local/" + sys.argv[1], sys.argv[2:]
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
api.delete_file("rng_state.json", repo, revision=third)
"""


def killed(
    pretraining: Pretraining, repo: str, step: int, config: Path | None = None, **changes: Any
) -> Path:
    """The recipe of a run that was killed when the Hub had the state of `step`; no folder is left.

    It saves each of its 12 steps, and a push takes longer than a step: most are yet to come then.
    """
    recipe = pretraining.recipe(repo, **NUMBERS | {"save_steps": 1} | changes)
    folder = pretraining.folder(repo)
    process, *others = pretraining.start(recipe, config)
    while not list(folder.glob("state-*/outbox")):
        assert process.running(), process.log.read_text()
    (outbox,) = folder.glob("state-*/outbox")
    wait_for(outbox / f"state-phase-step-{step:06d}.sent", process)
    for each in (process, *others):
        each.kill()
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
    without = {**NUMBERS, "push_training_state": False, "push_checkpoints": False}
    pretraining.run(pretraining.recipe(calm, **without, **optimizer))
    killed(pretraining, repo, 2, **optimizer)
    elsewhere = pretraining.folder(f"{repo}-elsewhere")
    changes = {**NUMBERS, **optimizer, "keep_checkpoints": 2, "output_dir": str(elsewhere)}
    log = pretraining.run(pretraining.recipe(repo, **changes))
    assert f"fetching local/{repo}@state-phase-step-0000" in log
    assert f"going on from {elsewhere}/state-" in log
    assert "under other values, which change no more than rounding: `keep_checkpoints`" in log
    assert "`output_dir`" not in log
    assert result(elsewhere) == result(pretraining.folder(calm))
    there = branches(pretraining, repo)
    weights = [name for name in there if name.startswith("phase-")]
    assert len(weights) == 2
    assert set(there) == {"main", *weights, *(f"state-{name}" for name in weights)}
    _no_pickle(there["state-phase-step-000012"])
    told = (there["state-phase-step-000012"] / "moxin.json").read_text()
    assert str(pretraining.place.home) not in told
    assert not [path for path in there["phase-step-000012"].iterdir() if "optim" in path.name]


def test_states_that_cannot_be_used_are_named_and_an_earlier_one_is(
    pretraining: Pretraining,
) -> None:
    killed(pretraining, "state-harmed", 4)
    found = sorted(name for name in branches(pretraining, "state-harmed") if name.startswith(STATE))
    pretraining.ask(CHANGE, "state-harmed", *found[:-4:-1])
    elsewhere = pretraining.folder("state-harmed-elsewhere")
    changes = {**NUMBERS, "output_dir": str(elsewhere)}
    log = pretraining.run(pretraining.recipe("state-harmed", **changes))
    reasons = [
        "optimizer.safetensors is not what was written",
        "torch 1.0 made it, and this is ",
        "rng_state.json is not what was written",
    ]
    for branch, reason in zip(found[::-1], reasons, strict=False):
        assert f"local/state-harmed@{branch} is not used: {reason}" in log
    assert f"checkpoint-{int(found[-4].rpartition('-')[2])}" in log.partition("going on from")[2]
    calm = pretraining.folder("state-calm-adamw")
    assert not calm.exists() or result(elsewhere) == result(calm)


@pytest.mark.soak
def test_two_processes_go_on_with_a_random_state_each(pretraining: Pretraining) -> None:
    two = ROOT / "accelerate_configs" / "ddp.yaml"
    pretraining.run(pretraining.recipe("state-calm-two", **NUMBERS), two)
    killed(pretraining, "state-two", 2, config=two)
    elsewhere = pretraining.folder("state-two-elsewhere")
    changes = {**NUMBERS, "output_dir": str(elsewhere)}
    recipe = pretraining.recipe("state-two", **changes)
    assert "fetching local/state-two@state-phase" in pretraining.run(recipe, two)
    assert result(elsewhere) == result(pretraining.folder("state-calm-two"))
    killed(pretraining, "state-two-one", 2, config=two)
    log = pretraining.run(pretraining.recipe("state-two-one", **NUMBERS))
    assert "is not used: it has the random states of 2 processes, and 1 run here" in log


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


IDENTITY = Identity({"learning_rate": 3}, {"learning_rate": "result"}, False, "old")
RUN: Any = SimpleNamespace(identity=IDENTITY, processes=2)
STATE_FACTS = {"step": 8, "processes": 2, "values": {"learning_rate": 3}, "seconds": 1.0}
FILES = {"optimizer.json": {"sha256": "a", "size": 1}}


def told(**changes: Any) -> dict[str, Any]:
    """The manifest of a state that `RUN` may go on from."""
    files = changes.get("files", FILES)
    return {
        "key": IDENTITY.key,
        "libraries": manifest.libraries(),
        "files": files,
        "payload": manifest.payload_digest(files),
        "training_state": STATE_FACTS,
        **changes,
    }


def test_a_state_of_this_very_run_is_used() -> None:
    assert states._fault(RUN, told(), 8) is None


@pytest.mark.parametrize(
    ("harmed", "line"),
    [
        ({}, "its push did not come to its end"),
        ({"unfinished": "the push has not come to its end"}, "its push did not come to its end"),
        (
            told(training_state={**STATE_FACTS, "processes": 16}),
            "random states of 16 processes, and 2 run here",
        ),
        (told(libraries={"torch": "2.0.0"}), "torch 2.0.0 made it, and this is "),
        (told(training_state={**STATE_FACTS, "step": 9}), "it is that of step 9"),
        (told(payload="x"), "its manifest is not what was written"),
        (told(files={"optimizer.pt": {"sha256": "a"}}), "optimizer.pt is no file of a state"),
        (told(files={"../a.json": {"sha256": "a"}}), "../a.json is no file of a state"),
        (
            told(key="k", training_state={**STATE_FACTS, "values": {"learning_rate": 4}}),
            "it belongs to another recipe or other inputs, `learning_rate` 4 → 3",
        ),
    ],
)
def test_why_a_state_is_not_used(harmed: dict[str, Any], line: str) -> None:
    assert line in str(states._fault(RUN, harmed, 8))


def test_a_stage_that_is_done_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = SimpleNamespace(push_training_state=True, hub_model_id="local/m")
    run: Any = SimpleNamespace(keys=keys, ranks=Ranks(), identity=IDENTITY)
    asked: list[str] = []
    monkeypatch.setattr(states, "commit_of", lambda *words: asked.append(words[-1]) or "commit")
    assert states.fetch_last(run) is None
    assert asked == [f"done-{IDENTITY.key[:12]}"]
    keys.push_training_state = False
    assert states.fetch_last(run) is None
    assert len(asked) == 1


def test_each_process_has_its_random_state(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-8"
    checkpoint.mkdir()
    for name in ("model.safetensors", "trainer_state.json", "moxin.json", "training_args.bin"):
        (checkpoint / name).touch()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        torch.save({"a": 1}, checkpoint / name)
    with pytest.raises(RecipeError, match="random states of 1 of 2 processes; `output_dir` must"):
        states.begin_all(RUN, checkpoint)
    torch.save({"a": torch.ones(2)}, checkpoint / "rng_state_1.pth")
    assert not states.is_begun(checkpoint)
    states.begin_all(RUN, checkpoint)
    assert states.is_begun(checkpoint)
    assert [path.name for path in states.write(checkpoint, tmp_path / "out")] == [
        *("model.safetensors", "trainer_state.json", "optimizer.json", "scheduler.json"),
        *("rng_state_0.json", "rng_state_1.json", "rng_state_1.safetensors"),
    ]
    assert [path.name for path in states.model_files(checkpoint)] == ["model.safetensors"]


def keys(**changes: Any) -> PretrainKeys:
    mixture = [MixtureItem(source="s", weight=1.0)]
    named = dict.fromkeys(("hub_model_id", "dataset_name", "model_name_or_path"), "m")
    options = {"stage": "pretrain", "global_batch_size": 2, "context_length": 16, **named}
    return PretrainKeys(**options, mixture=mixture, push_training_state=True, **changes)


def test_what_cannot_be_pushed_is_refused_before() -> None:
    keys().check()
    keys().check_launch(sharded=False)
    with pytest.raises(RecipeError, match=r"`push_training_state`: FSDP saves .* pickles"):
        keys().check_launch(sharded=True)
    with pytest.raises(RecipeError, match=r"`push_training_state`: .*`push_checkpoints` is false"):
        keys(push_checkpoints=False).check()
    args = TrainingArguments(max_steps=1, load_best_model_at_end=True, eval_strategy="steps")
    with pytest.raises(RecipeError, match=r"`push_training_state`: .*`load_best_model_at_end`"):
        keys().check_libraries(args)


def test_as_many_states_as_weights_stay() -> None:
    names = [f"{kind}p-step-{step:06d}" for step in (9, 10, 8) for kind in (STATE, "")]
    assert Retention(2).stay(names) == [
        *("p-step-000009", "state-p-step-000009", "p-step-000010", "state-p-step-000010")
    ]
    assert Retention().stay(names)[:2] == ["p-step-000008", "state-p-step-000008"]
