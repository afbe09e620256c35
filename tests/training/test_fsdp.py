"""FSDP2 on two CPU processes: the losses of one, sharded checkpoints, whole pushes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT
from tests.training.pretraining import Pretraining
from tests.warm import wait_for

from moxin_recipes.models.weights import is_sharded

# Two ranks accumulate two micro-batches each, as those of the 7B recipes do.
STEPS = {"max_steps": 24, "save_steps": 8, "per_device_train_batch_size": 1}
SAME = """
import json, sys
import torch
from huggingface_hub import HfApi
from transformers import AutoModelForCausalLM, AutoTokenizer
repo = "local/sharded"
names = sorted(branch.name for branch in HfApi().list_repo_refs(repo).branches)
models = {name: AutoModelForCausalLM.from_pretrained(repo, revision=name) for name in names}
AutoTokenizer.from_pretrained(repo, revision="phase-step-000008")
last = models["phase-step-000024"].state_dict()
final = models["main"].state_dict()
alone = AutoModelForCausalLM.from_pretrained("local/alone").state_dict()
print(json.dumps({
    "branches": names,
    "branches kept": sorted(b.name for b in HfApi().list_repo_refs("local/alone").branches),
    "same": all(torch.equal(last[n], final[n]) for n in final) and set(last) == set(final),
    "moved": not torch.equal(models["phase-step-000008"].lm_head.weight, final["lm_head.weight"]),
    "furthest from one process": max(float((alone[n] - final[n]).abs().max()) for n in alone),
    "kind": type(models["main"]).__name__,
    "config": models["main"].config.to_dict() == models["phase-step-000008"].config.to_dict(),
    "files": sorted({f for name in names for f in HfApi().list_repo_files(repo, revision=name)}),
}))
"""


def losses(folder: Path) -> list[float]:
    manifest: dict[str, Any] = json.loads((folder / "moxin.json").read_text())
    return [row["loss"] for row in manifest["log"]]


def test_sharded_training_is_that_of_one_process(pretraining: Pretraining, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "accelerate_configs" / "fsdp.yaml").read_text())
    assert config["fsdp_config"]["fsdp_state_dict_type"] == "SHARDED_STATE_DICT"
    file = tmp_path / "fsdp.yaml"
    file.write_text(yaml.safe_dump({**config, "num_processes": 2, "mixed_precision": "no"}))
    recipe = pretraining.recipe("sharded", **STEPS)
    pretraining.run(pretraining.recipe("alone", **STEPS, keep_checkpoints=1))
    ranks = pretraining.start(recipe, file)
    while not list(pretraining.folder("sharded").glob("state-*/checkpoint-8")):
        assert ranks[0].running(), ranks[0].log.read_text()[-3000:]
    checkpoint = pretraining.checkpoint("sharded", 8)
    wait_for(checkpoint / "moxin.json", ranks[0])
    for process in ranks:
        process.kill()
    assert is_sharded(checkpoint)
    sealed = json.loads((checkpoint / "moxin.json").read_text())["files"]
    assert {name.split("/")[0] for name in sealed if name.endswith(".distcp")} == {
        "optimizer_0",
        "pytorch_model_fsdp_0",
    }
    assert "going on from" in pretraining.run(recipe, file)
    report = json.loads(pretraining.ask(SAME).splitlines()[-1])
    one_process, two_processes = (losses(pretraining.folder(name)) for name in ("alone", "sharded"))
    assert len(one_process) == len(two_processes) == 24
    assert two_processes == pytest.approx(one_process, abs=1e-4)
    steps = ["phase-step-000008", "phase-step-000016", "phase-step-000024"]
    assert report["branches"] == sorted(["main", *steps])
    assert report["branches kept"] == ["main", "phase-step-000024"]
    assert report["kind"] == "MistralForCausalLM"
    assert report["same"]
    assert report["moved"]
    assert report["config"]
    assert report["furthest from one process"] < 1e-4
    assert not [name for name in report["files"] if name.endswith((".distcp", ".bin", ".pt"))]


def test_gradients_are_summed_in_float32(pretraining: Pretraining, tmp_path: Path) -> None:
    """Over ranks and micro-batches, in bf16; what accelerate makes of the file is far from it."""
    config = yaml.safe_load((ROOT / "accelerate_configs" / "fsdp.yaml").read_text())
    file = tmp_path / "fsdp.yaml"
    file.write_text(yaml.safe_dump({**config, "num_processes": 2}))
    errors = {}
    for policy in ("ours", "accelerate"):
        words = [str(tmp_path), policy, "1", "16"]
        pretraining.warm.run(file, "tests.training.reduced", words, tmp_path / policy)
        errors[policy] = json.loads((tmp_path / f"{policy}.json").read_text())
    assert max(errors["ours"].values()) < 1e-5
    assert min(errors["accelerate"].values()) > 1e-4
    assert errors["accelerate"]["16"] > 2 * errors["accelerate"]["1"]


def test_selective_checkpointing_takes_the_place_of_fsdps(
    pretraining: Pretraining, tmp_path: Path
) -> None:
    """In bf16, where each bit would show; both push the same weights."""
    config = yaml.safe_load((ROOT / "accelerate_configs" / "fsdp.yaml").read_text())
    file = tmp_path / "fsdp.yaml"
    file.write_text(yaml.safe_dump({**config, "num_processes": 2}))
    payloads = []
    for name, selective in (("whole", False), ("selective", True)):
        changes = {**STEPS, "max_steps": 2, "save_steps": 2, "selective_checkpointing": selective}
        log = pretraining.run(pretraining.recipe(name, **changes), file)
        assert "FSDP computes in bfloat16 and sums gradients in float32" in log
        manifest = json.loads((pretraining.folder(name) / "moxin.json").read_text())
        payloads.append(manifest["payload"])
    assert payloads[0] == payloads[1]
