"""The whole miniature ladder, as a user runs it: finish, skip, change, kill, load."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import Workplace, new_workplace, serving

STAGES = [
    "00-data",
    "10-init",
    "20-pretrain-2k",
    "21-pretrain-4k",
    "22-pretrain-enhance",
    "30-sft",
    "31-dpo",
    "40-distill",
    "41-cot-sft",
    "42-grpo",
    "50-evaluate",
    "60-release",
]


def status(place: Workplace) -> dict[str, dict[str, Any]]:
    done = place.moxin("status", str(place.ladder), "--json", "--hub", "local")
    assert done.returncode == 0, done.stderr
    return {row["stage"]: row for row in json.loads(done.stdout)}


def python(place: Workplace, code: str) -> str:
    """Output of a process with the variables of `moxin hub env` and no others.

    A plain Python one where the place is cold; else one that has imported the libraries.
    """
    lines = place.moxin("hub", "env").stdout.splitlines()
    pairs = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(place.home), **pairs}
    if place.warm:
        script = place.home / "asked.py"
        script.write_text(code)
        done = place.warm.completed([str(script)], variables)
    else:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            cwd=place.home,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


PAYLOADS = """
import json
from huggingface_hub import HfApi, hf_hub_download
api, found = HfApi(), {}
for kind, repos in (("model", api.list_models()), ("dataset", api.list_datasets())):
    for repo in repos:
        refs = api.list_repo_refs(repo.id, repo_type=kind)
        for ref in (*refs.tags, *(branch for branch in refs.branches if branch.name != "main")):
            path = hf_hub_download(
                repo.id, "moxin.json", repo_type=kind, revision=ref.target_commit)
            found[f"{repo.id}@{ref.name}"] = json.load(open(path))["payload"]
print(json.dumps(found))
"""


def payloads(place: Workplace) -> dict[str, str]:
    loaded: dict[str, str] = json.loads(python(place, PAYLOADS))
    return loaded


def test_every_stage_is_done_and_shown(finished: Workplace) -> None:
    rows = status(finished)
    assert list(rows) == STAGES
    assert {row["state"] for row in rows.values()} == {"done"}
    keys = {"stage", "state", "repo", "revision", "commit", "seconds", "tokens", "metrics"}
    assert all(set(row) == keys for row in rows.values())
    assert rows["20-pretrain-2k"]["metrics"]["bits_per_byte"] > 0
    assert 0 <= rows["42-grpo"]["metrics"]["accuracy"] <= 1
    for stage in ("41-cot-sft", "42-grpo"):
        scores = {"accuracy_stderr", "well_formed", "forced_chain_accuracy"}
        assert scores | {f"longer_{name}" for name in scores} <= set(rows[stage]["metrics"])
    shown = (finished.home / "first-run.txt").read_text()
    assert "moxin-nano-reasoning@grpo" in shown
    assert "42-grpo: accuracy since 41-cot-sft at least +0.10" in shown
    assert (finished.home / "report" / "mini.png").stat().st_size > 10_000


def test_a_second_run_skips_everything(finished: Workplace) -> None:
    before = status(finished)
    done = finished.run()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done already") == len(STAGES)
    assert " starts" not in done.stderr
    assert status(finished) == before


def test_a_changed_number_runs_that_stage_and_what_depends_on_it(finished: Workplace) -> None:
    path = finished.ladder / "41-cot-sft.yaml"
    text = path.read_text()
    values = yaml.safe_load(text)
    path.write_text(yaml.safe_dump({**values, "learning_rate": 1e-5}, sort_keys=False))
    done = finished.run()
    assert done.returncode == 0, done.stderr[-3000:]
    started = [line.split()[0] for line in done.stderr.splitlines() if line.endswith(" starts")]
    assert started == ["41-cot-sft", "42-grpo", "50-evaluate", "60-release"]
    path.write_text(text)  # back again: nothing is trained twice
    again = finished.run()
    assert again.returncode == 0, again.stderr[-3000:]
    assert " starts" not in again.stderr


def test_only_and_from_and_unknown_names(finished: Workplace) -> None:
    only = finished.run("--only", "30-sft")
    assert [line.split()[0] for line in only.stderr.splitlines() if "done already" in line] == [
        "30-sft"
    ]
    begun = finished.run("--from", "50-evaluate")
    assert begun.stderr.count("done already") == 2
    wrong = finished.run("--only", "30-sftt")
    assert wrong.returncode == 1
    assert "error: no stage 30-sftt in this ladder; it has 00-data" in wrong.stderr
    for forced in ([], ["--force", "30-sft"]):
        nothing = finished.run("--from", "50-evaluate", "--only", "30-sft", *forced)
        assert nothing.returncode == 1
        assert "error: `--only`: 30-sft comes before 50-evaluate, which" in nothing.stderr


def test_artifacts_load_in_a_plain_process(finished: Workplace) -> None:
    code = """
import json
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import HfApi
from transformers import AutoModelForCausalLM, AutoTokenizer
api = HfApi()
base = "local/moxin-nano-base"
refs = api.list_repo_refs(base)
names = [r.name for r in (*refs.tags, *refs.branches)]
for name in names:
    AutoModelForCausalLM.from_pretrained(base, revision=name)
tokenizer = AutoTokenizer.from_pretrained("local/moxin-nano-sft", revision="sft")
chat = tokenizer.apply_chat_template(
    [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], tokenize=False)
rows = {}
for repo in api.list_datasets():
    for config in get_dataset_config_names(repo.id):
        loaded = load_dataset(repo.id, config)
        rows[f"{repo.id}/{config}"] = {split: len(part) for split, part in loaded.items()}
print(json.dumps([names, chat, rows]))
"""
    names, chat, rows = json.loads(python(finished.cold(), code))
    assert {"init", "pretrain-2k", "pretrain-4k", "pretrain-enhance", "main"} <= set(names)
    assert "pretrain-2k-step-000003" in names
    assert chat == "<s><|user|>\nhi\n<|assistant|>\nho</s>"
    assert {key.split("/")[1].removeprefix("moxin-nano-") for key in rows} == {
        "corpus", "tokens", "chat", "preferences", "problems", "cot-data", "scores"
    }  # fmt: skip
    assert all(count > 0 for splits in rows.values() for count in splits.values())


def test_every_score_is_given_over_clean_items_too(finished: Workplace) -> None:
    code = """
import json
from datasets import load_dataset
print(json.dumps(list(load_dataset("local/moxin-nano-scores", split="test"))))
"""
    rows = json.loads(python(finished.cold(), code))
    assert {row["task"] for row in rows} == {
        "problems_base", "problems_chat", "problems_chain", "choices"
    }  # fmt: skip
    for row in rows:
        left_out = [int(word) for word in row["clean_note"].split() if word.isdigit()]
        assert row["clean_items"] + sum(left_out) == row["items"]
        assert row["whole"]
        assert row["low"] <= row["value"] <= row["high"]


def test_a_pretrained_models_card_says_what_its_sources_held(finished: Workplace) -> None:
    code = """
from huggingface_hub import hf_hub_download
print(open(hf_hub_download("local/moxin-nano-base", "README.md", revision="pretrain-2k")).read())
"""
    card = python(finished, code)
    assert "## Evaluation items in the training data" in card
    assert "| maths-text | choices |" in card


def test_the_hub_is_sound_and_listed(finished: Workplace) -> None:
    checked = finished.moxin("hub", "fsck")
    assert checked.returncode == 0
    assert ": 0 problems" in checked.stdout
    listed = finished.moxin("hub", "ls").stdout.splitlines()
    assert any(line.startswith("model\tlocal/moxin-nano-release\t") for line in listed)
    assert len(listed) == 14


def test_files_are_added_under_a_public_name(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "home", tmp_path)
    (tmp_path / "train.jsonl").write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    added = place.moxin(
        *("hub", "add", str(tmp_path / "train.jsonl"), "--as", "openai/gsm8k"),
        *("--type", "dataset"),
    )
    assert added.returncode == 0, added.stderr
    code = """
from datasets import load_dataset
print(load_dataset("openai/gsm8k", split="train")[0]["answer"])
"""
    with serving(place):
        assert python(place, code).strip() == "#### 2"
    missing = place.moxin("hub", "add", "nothing.txt", "--as", "a/b")
    assert missing.stderr.startswith("error: nothing.txt: there is no such file")


def test_scores_reach_the_card_of_the_model(finished: Workplace) -> None:
    code = """
from huggingface_hub import ModelCard
card = ModelCard.load("local/moxin-nano-reasoning")
print([(r.dataset_name, r.metric_type, r.metric_value) for r in card.data.eval_results])
"""
    assert "problems_chain" in python(finished, code)


def test_manifests_name_their_parents(finished: Workplace) -> None:
    code = """
import json
from huggingface_hub import hf_hub_download
print(open(hf_hub_download("local/moxin-nano-reasoning", "moxin.json", revision="grpo")).read())
"""
    manifest = json.loads(python(finished, code))
    parents = {parent["key"]: parent for parent in manifest["parents"]}
    found = payloads(finished)
    assert parents["model_name_or_path"]["payload"] == found["local/moxin-nano-cot@cot-sft"]
    assert parents["dataset_name"]["payload"] == found["local/moxin-nano-problems@data"]
    assert manifest["recipe"]["beta"] == 0.001
    assert not any(name.endswith((".bin", ".pt", ".pth")) for name in manifest["files"])
    assert "hf_not_real" not in json.dumps(manifest)


def test_nothing_but_loopback_is_contacted(finished: Workplace) -> None:
    hosts = set((finished.home / "connections.log").read_text().split())
    assert "127.0.0.1" in hosts
    assert hosts <= {"127.0.0.1", "localhost", "unix", "::1", "None"}


def kill_during(place: Workplace, stage: str, checkpoint: str, with_hub: bool) -> None:
    """Starts the ladder and kills the stage with all its processes once a checkpoint is whole."""
    assert place.warm
    command = place.command("run", str(place.ladder), "--hub", "local")
    runner = place.warm.begin(command, place.environment())
    pattern = f"{stage}/state-*/{checkpoint}/moxin.json"
    while not list((place.home / "runs" / "mini").glob(pattern)):
        assert runner.running(), f"the ladder ended before {stage} had {checkpoint}"
        time.sleep(0.01)
    for process in psutil.Process(runner.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may end of itself once the Hub is gone
            if with_hub or "moxin_recipes.stages" in " ".join(process.cmdline()):
                process.kill()
    if with_hub:
        runner.kill()
    assert runner.wait() != 0


def test_killed_at_three_stages_it_ends_as_if_undisturbed(
    finished: Workplace, tmp_path: Path
) -> None:
    place = new_workplace(tmp_path)
    with place.warmed() as warm:
        kill_during(warm, "20-pretrain-2k", "checkpoint-3", with_hub=False)
        kill_during(warm, "30-sft", "checkpoint-3", with_hub=True)
        kill_during(warm, "42-grpo", "checkpoint-1", with_hub=False)
        done = warm.run()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "going on from" in done.stderr
    undisturbed = payloads(finished)
    with serving(place):
        disturbed = payloads(place)
    steps = {name for name in disturbed if "step-" in name}
    assert "local/moxin-nano-base@pretrain-2k-step-000003" in steps
    assert steps == {name for name in undisturbed if "step-" in name}  # none lost on the way
    for name, payload in disturbed.items():
        if "@done-" in name or "-scores@" in name or "-release@" in name:
            continue  # named after keys; scores and release name commits, which have dates
        if "step-" in name and ("-cot@" in name or "-reasoning@" in name):
            continue  # `finished` ran these stages once more with another number
        assert payload == undisturbed[name], name
