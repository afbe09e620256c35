"""Each stage by itself, as `accelerate launch` starts it, on one process and on two."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import ROOT, Workplace
from tests.test_ladder import python, status

TRAINING = {
    "pretrain": "20-pretrain-2k",
    "sft": "30-sft",
    "dpo": "31-dpo",
    "grpo": "42-grpo",
}
OTHERS = {
    "data": "00-data",
    "init": "10-init",
    "distill": "40-distill",
    "evaluate": "50-evaluate",
    "release": "60-release",
}


def steps(folder: Path) -> list[float]:
    """Losses, then gradient norms of all steps, from the last checkpoint of a run."""
    (path,) = folder.glob("state-*/checkpoint-3/trainer_state.json")
    history = json.loads(path.read_text())["log_history"]
    return [row[key] for key in ("loss", "grad_norm") for row in history if "loss" in row]


@pytest.mark.parametrize("stage", TRAINING)
def test_a_training_stage_on_two_processes(finished: Workplace, tmp_path: Path, stage: str) -> None:
    recipe = TRAINING[stage]
    options = ["--max_steps", "3", "--save_steps", "3", "--logging_steps", "1"]
    place = finished.cold() if stage == "sft" else finished  # where the two hash text differently
    done = place.launch(
        *(stage, recipe, "--output_dir", str(tmp_path), "--push_to_hub", "false"),
        *options,
        config="ddp",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "not pushed (push_to_hub: false)" in done.stderr
    alone = tmp_path / "alone"
    done = finished.launch(
        *(stage, recipe, "--output_dir", str(alone), "--push_to_hub", "false"),
        *options,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = load_file(alone / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert set(one) == set(two)
    if stage != "grpo":  # two processes sample other completions
        assert len(steps(tmp_path)) == 6
        assert steps(tmp_path) == pytest.approx(steps(alone), rel=1e-5)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("stage", OTHERS)
def test_another_stage_on_two_processes_is_done_by_the_first(
    finished: Workplace, tmp_path: Path, stage: str
) -> None:
    before = status(finished)
    done = finished.launch(
        *(stage, OTHERS[stage], "--output_dir", str(tmp_path), "--push_to_hub", "false"),
        config="ddp",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("not pushed (push_to_hub: false)") == 1
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".parquet", ".safetensors")]
    assert status(finished) == before


def test_a_stage_pushes_by_itself_with_overrides(finished: Workplace) -> None:
    done = finished.cold().launch(
        *("sft", "30-sft", "--max_steps", "2", "--learning_rate", "4e-6"),
        *("--hub_model_id", "tried-sft"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    code = """
from transformers import AutoModelForCausalLM
from huggingface_hub import HfApi
AutoModelForCausalLM.from_pretrained("local/tried-sft", revision="sft")
api = HfApi()
tags = [tag.name for tag in api.list_repo_refs("local/tried-sft").tags]
done = [tag for tag in tags if tag.startswith("done-")]
print(len(done), api.model_info("local/tried-sft").private)
api.delete_repo("local/tried-sft")
"""
    assert python(finished, code).split() == ["1", "True"]


CARD = """
from pathlib import Path
from huggingface_hub import HfApi, snapshot_download
folder = Path(snapshot_download("local/tried-base", revision="init"))
print((folder / "moxin.json").read_text(), "the card", (folder / "README.md").read_text())
HfApi().delete_repo("local/tried-base")
"""


def test_the_command_of_a_card_makes_the_same_again(finished: Workplace) -> None:
    words = ["--seed", "7", "--hub_model_id", "tried-base"]
    made = []
    for _ in range(2):
        done = finished.launch("init", "10-init", *words)
        assert done.returncode == 0, done.stderr[-3000:]
        manifest, _, card = python(finished, CARD).partition("the card")
        made.append(json.loads(manifest)["payload"])
        (command,) = re.findall(r"```\n(accelerate launch .*?)```", card, re.DOTALL)
        (words,) = [shlex.split(command.replace("\\\n", " ").partition("10-init.yaml ")[2])]
        assert words == ["--seed", "7", "--hub_model_id", "tried-base"]
    assert made[0] == made[1]
    told = json.loads(manifest)
    assert told["flags"] == {"seed": 7, "hub_model_id": "tried-base"}
    assert told["launcher"]["use_cpu"]
    assert told["code"]["commit"]
    assert told["installed"]["torch"]
    assert told["hardware"]["instructions"]


def test_an_adapter_on_shards_is_that_of_one_process(finished: Workplace, tmp_path: Path) -> None:
    """Trained, gathered and merged; the head is no unit of its own (`tie_word_embeddings`)."""
    assert finished.warm
    done = finished.launch(
        "init", "10-init", "--tie_word_embeddings", "false", "--hub_model_id", "tried-untied"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    config = yaml.safe_load((ROOT / "accelerate_configs" / "fsdp.yaml").read_text())
    files = {"one": ROOT / "accelerate_configs" / "cpu.yaml", "two": tmp_path / "fsdp.yaml"}
    files["two"].write_text(yaml.safe_dump({**config, "num_processes": 2, "mixed_precision": "no"}))
    words = ["--config", str(finished.ladder / "30-sft.yaml"), "--push_to_hub", "false"]
    words += ["--model_name_or_path", "tried-untied@init", "--use_peft", "true", "--lora_r", "4"]
    words += ["--lora_dropout", "0.0", "--learning_rate", "1e-2", "--warmup_steps", "0"]
    words += ["--max_steps", "3", "--per_device_train_batch_size", "2"]
    models = {}
    for name, file in files.items():
        out = tmp_path / name
        log = tmp_path / f"{name}-log"
        finished.warm.run(file, "moxin_recipes.stages.sft", [*words, "--output_dir", str(out)], log)
        models[name] = load_file(out / "model.safetensors")
    (folder,) = python(finished, UNTIED).splitlines()[-1:]
    start = load_file(f"{folder}/model.safetensors")
    assert set(models["one"]) == set(models["two"]) == set(start)
    assert max(float((models["one"][n] - start[n]).abs().max()) for n in start) > 1e-3
    for name, tensor in models["one"].items():
        assert torch.allclose(tensor, models["two"][name], atol=1e-6), name


UNTIED = """
from huggingface_hub import HfApi, snapshot_download
print(snapshot_download("local/tried-untied", revision="init"))
HfApi().delete_repo("local/tried-untied")
"""
