"""Every rule of a recipe holds at each door: `moxin check`, `moxin run`, a direct launch."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT, Workplace

from moxin_recipes.ladder import launching
from moxin_recipes.recipe import benchmarks, door
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError

NANO = ROOT / "recipes" / "moxin-nano"
LOCAL = {"name": "stdlib-code"}
WEB = {"name": "web", "dataset": "some/set"}
MODEL = {"model": "m", "file": "f", "label": "l", "threshold": 0.5}
MINHASH = {"unit": "words", "ngrams": 5, "buckets": 14, "hashes": 8}

# Stage → what is changed of moxin-nano's recipe, and what the one line says.
BASE = "moxin-nano-base@pretrain-enhance"
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("40-distill", {"teacher": "recorded"}, "`traces` is missing: `teacher: recorded` needs it"),
    ("40-distill", {"teacher": "endpoint"}, "`base_url` is missing: `teacher: endpoint`"),
    ("40-distill", {"teacher": "vllm"}, "`model_name_or_path` is missing: `teacher: vllm`"),
    ("40-distill", {"dataset_name": None}, "`dataset_name` is missing: `teacher: program`"),
    ("40-distill", {"samples": 0}, "`samples` must be at least 1, not 0"),
    ("40-distill", {"top_p": 0}, "`top_p` must be above 0 and at most 1, not 0"),
    ("40-distill", {"rewards": ["math", "fromat"]}, "`rewards`: there is no fromat; use math"),
    ("40-distill", {"rewards": []}, "`rewards`: give at least one"),
    ("42-grpo", {"rewards": ["nowhere.at_all:reward"]}, "cannot be imported"),
    ("42-grpo", {"reward_weights": [1.0]}, "`reward_weights` has 1 numbers for 2 `rewards`"),
    (
        "42-grpo",
        {"pass_rates_name": "p", "min_pass_rate": 0.9, "max_pass_rate": 0.1},
        "`min_pass_rate` 0.9 is above `max_pass_rate` 0.1",
    ),
    ("42-grpo", {"min_pass_rate": 1.5}, "`min_pass_rate` must be at least 0 and at most 1"),
    ("42-grpo", {"min_pass_rate": 0.2}, "`pass_rates_name` is missing"),
    (
        "42-grpo",
        {"num_iterations": 2, "save_steps": 25},
        "`save_steps`: a generation lasts 2 updates",
    ),
    (
        "42-grpo",
        {"generation_batch_size": 384, "save_steps": 10},
        "`save_steps`: a generation lasts 3 updates",
    ),
    ("42-grpo", {"save_total_limit": 1}, "`save_total_limit` must be 2 or more"),
    ("00-data", {"sources": [{"name": "stdlib-cod"}]}, "no local source stdlib-cod; did you mean"),
    ("00-data", {"sources": [{**LOCAL, "file_share": 7}]}, "`sources[0].file_share` must be above"),
    ("00-data", {"sources": [{**LOCAL, "file_share": -0.1}]}, "`sources[0].file_share` must be"),
    ("00-data", {"sources": [LOCAL, LOCAL]}, "`sources`: stdlib-code is named twice"),
    ("00-data", {"minhash": None}, "`minhash` is missing"),
    ("00-data", {"sources": [{**LOCAL, "dedup": ["bloom"]}]}, "`bloom` is missing"),
    ("00-data", {"minhash": {**MINHASH, "buckets": 0}}, "`minhash.buckets` must be at least 1"),
    ("00-data", {"sources": [{**LOCAL, "filters": ["language"]}]}, "`language` is missing"),
    (
        "00-data",
        {"sources": [{**LOCAL, "late_filters": ["classifier"]}]},
        "`classifier` is missing",
    ),
    ("00-data", {"language": {**MODEL, "threshold": 3}}, "`language.threshold` must be at least 0"),
    ("00-data", {"sources": [{**LOCAL, "filters": ["shortt"]}]}, "no filter shortt; did you mean"),
    (
        "00-data",
        {"sources": [{**LOCAL, "dataset": "heldout"}]},
        "'heldout' is no source of documents",
    ),
    ("00-data", {"sources": [{**LOCAL, "heldout_fraction": 1}]}, "leaves nothing to train on"),
    ("00-data", {"executor": "slurm"}, "`slurm_partition` is missing: `executor: slurm`"),
    ("00-data", {"hub_problems_id": None}, "problems, but there is no `hub_problems_id`"),
    ("00-data", {"hub_tokenizer_id": None}, "`hub_tokenizer_id` is missing"),
    ("00-data", {"vocab_size": -4}, "`vocab_size` must be at least 1, not -4"),
    ("30-sft", {"num_train_epochs": 1.5}, "`num_train_epochs` must be a whole number"),
    ("30-sft", {"num_train_epochs": 0.5}, "`num_train_epochs` must be a whole number"),
    ("30-sft", {"chat_template": "none.jinja"}, "`chat_template`: there is no file none.jinja"),
    ("30-sft", {"chat_template": "recipes"}, "`chat_template`: there is no file recipes"),
    ("30-sft", {"eval_rows": 0}, "`eval_rows` must be at least 1"),
    ("31-dpo", {"save_total_limit": 1}, "`save_total_limit` must be 2 or more"),
    ("31-dpo", {"global_batch_size": 0}, "`global_batch_size` must be at least 1"),
    ("31-dpo", {"model_name_or_path": 3}, "`model_name_or_path` must be str"),
    ("50-evaluate", {"evaluations": [{"task": "choises", "model": "m"}]}, "m is not one of"),
    ("60-release", {"models": []}, "`models` is empty"),
    ("10-init", {"hidden_size": None}, "`hidden_size` is missing: `method: scratch`"),
    ("10-init", {"method": "average"}, "`models` is missing: `method: average`"),
    ("10-init", {"num_key_value_heads": 3}, "`num_key_value_heads`: "),
    ("10-init", {"dtype": "float8"}, "`dtype` must be"),
    ("10-init", {"bigrams_name": "tokens@data"}, "set `initialization: muon` and"),
    (
        "10-init",
        {"method": "average", "models": ["a", "b"], "bigrams_name": "tokens@data"},
        "`bigrams_name`: `method: average` takes trained weights",
    ),
    ("20-pretrain-2k", {"max_steps": None}, "`max_steps` must be int"),
    ("20-pretrain-2k", {"max_steps": -1}, "`max_steps` is missing: a phase is so many steps"),
    ("20-pretrain-2k", {"mixture": []}, "`mixture` names no source"),
    (
        "20-pretrain-2k",
        {"mixture": [{"source": "maths-text", "weight": 7}]},
        "shares above 0 that sum to 1, not to 7",
    ),
    (
        "20-pretrain-2k",
        {"mixture": [{"source": "a", "weight": 2}, {"source": "b", "weight": -1}]},
        "`mixture[1].weight` must be above 0, not -1",
    ),
    (
        "20-pretrain-2k",
        {"mixture": [{"source": "a", "weight": 1, "start": 0.5, "stop": 0.5}]},
        "from a `start` to a larger `stop`",
    ),
    (
        "20-pretrain-2k",
        {"z_loss": 1e-5, "use_liger_kernel": True},
        "`z_loss`: liger's kernel knows none",
    ),
    (
        "20-pretrain-2k",
        {"selective_checkpointing": True, "gradient_checkpointing": True},
        "`selective_checkpointing`: `gradient_checkpointing` computes whole layers again",
    ),
    ("20-pretrain-2k", {"optimizer": "moun"}, "`optimizer`: there is no moun; use adamw, muon"),
    ("20-pretrain-2k", {"token_cache_gb": float("nan")}, "`token_cache_gb` must be float, not nan"),
    # What a library would say after the start, or in a traceback.
    ("30-sft", {"hub_model_id": ""}, "`hub_model_id` is empty; name a repository"),
    ("30-sft", {"model_name_or_path": ""}, "`model_name_or_path` is empty"),
    ("30-sft", {"eval_strategy": "steps"}, "`eval_strategy`: this stage scores its result"),
    ("31-dpo", {"eval_strategy": "steps", "dataset_test_split": None}, "`eval_strategy`: "),
    ("30-sft", {"bf16": True, "fp16": True}, "`fp16` and `bf16` are both on"),
    ("30-sft", {"learning_rate": -1.0}, "`learning_rate` must be at least 0, not -1"),
    ("30-sft", {"learning_rate": float("nan")}, "`learning_rate` must be float, not nan"),
    ("30-sft", {"max_length": -5}, "`max_length` must be at least 1"),
    ("30-sft", {"lora_r": 0}, "`lora_r` must be at least 1"),
    ("30-sft", {"num_train_epochs": float("inf")}, "`num_train_epochs` must be float, not inf"),
    ("30-sft", {"deepspeed": "x"}, "`deepspeed` is not a key of a recipe: FSDP shards"),
    ("20-pretrain-2k", {"fsdp": "full_shard"}, "`fsdp` is not a key of a recipe: FSDP shards"),
    ("42-grpo", {"temperature": -1.0}, "`temperature` must be above 0"),
    ("42-grpo", {"num_generations": 0}, "`num_generations` must be at least 2"),
    ("42-grpo", {"max_completion_length": 0}, "`max_completion_length` must be at least 1"),
    ("42-grpo", {"num_iterations": 2, "save_strategy": "epoch"}, "`save_steps`: a generation"),
    ("00-data", {"chat_steps": [9]}, "`chat_steps[0]` must be at least 1 and at most 8"),
    ("00-data", {"chain_steps": []}, "`chain_steps` and `rl_steps` name at least one"),
    ("00-data", {"sources": [{"name": "../../x"}]}, "`sources[0].name`: '../../x' names a folder"),
    ("00-data", {"sources": [{**WEB, "files": []}]}, "`sources[0].files` is empty"),
    ("00-data", {"sources": [{**WEB, "dataset": ""}]}, "'' is no source of documents"),
    (
        "00-data",
        {"sources": [{**WEB, "text_template": "{{ x"}]},
        "`sources[0].text_template`: not a Jinja template",
    ),
    ("00-data", {"tokenizer_name_or_path": "some/tok"}, "or one too many: tokens need"),
    ("00-data", {"hub_tokens_id": "moxin-nano-corpus"}, "under two of the `hub_…_id` keys"),
    ("50-evaluate", {"evaluations": []}, "`evaluations` is empty"),
    # Shares, weights and numbers that cannot be what they say.
    (
        "20-pretrain-2k",
        {"mixture": [{"source": "a", "weight": 0.5}, {"source": "a", "weight": 0.5, "start": 0.5}]},
        "`mixture[1].source`: a is named twice",
    ),
    (
        "20-pretrain-2k",
        {"mixture": [{"source": "a", "weight": 1, "start": 0.6, "stop": 0.2}]},
        "from a `start` to a larger `stop`, not from 0.6 to 0.2",
    ),
    ("20-pretrain-2k", {"mixture": [{"source": "a", "weight": 1, "stop": 1.5}]}, "[0].stop` must"),
    ("20-pretrain-2k", {"mixture": [{"source": "a", "weight": 1, "epochs": 0}]}, "above 0, not 0"),
    ("20-pretrain-2k", {"muon_momentum": 1.0}, "`muon_momentum` must be at least 0 and below 1"),
    ("20-pretrain-2k", {"adam_beta2": 1.0}, "`adam_beta2` must be at least 0 and below 1"),
    ("20-pretrain-2k", {"max_steps": 0}, "`max_steps` must be at least 1, not 0"),
    ("31-dpo", {"max_steps": -7}, "`max_steps` must be at least 1, not -7"),
    ("31-dpo", {"num_train_epochs": -1}, "`num_train_epochs` must be above 0"),
    ("31-dpo", {"beta": -5}, "`beta` must be at least 0"),
    ("31-dpo", {"label_smoothing": 1.5}, "`label_smoothing` must be at least 0 and below 1"),
    ("42-grpo", {"top_entropy_quantile": 1.2}, "`top_entropy_quantile` must be above 0"),
    ("42-grpo", {"top_p": 0.0}, "`top_p` must be above 0 and at most 1"),
    ("00-data", {"sources": [{**LOCAL, "heldout_fraction": -0.1}]}, "heldout_fraction` must be"),
    ("00-data", {"vocab_size": 100}, "`vocab_size` must be at least 260, not 100"),
    ("00-data", {"maths_documents": 0}, "`maths_documents` is missing"),
    (
        "00-data",
        {"decontaminate": [{"name": "a", "dataset": "heldout", "rules": []}]},
        "`decontaminate[0].rules` is empty",
    ),
    (
        "00-data",
        {"decontaminate": [{"name": "a", "dataset": "heldout"}, {"name": "a", "dataset": "b"}]},
        "`decontaminate`: a is named twice",
    ),
    (
        "40-distill",
        {"teacher": "transformers", "model_name_or_path": "m", "samples": 2, "temperature": 0},
        "`temperature`: at 0 the 2 `samples` are the same answer",
    ),
    (
        "10-init",
        {"eval_context_length": 2048},
        "`eval_context_length`: 2,048 tokens, but the model has 1,024 positions",
    ),
    ("50-evaluate", {"evaluations": [{"model": BASE}]}, "give `task` or `suite`, one of them"),
    (
        "50-evaluate",
        {"evaluations": [{"model": BASE, "task": "choices", "suite": "zero-shot"}]},
        "give `task` or `suite`, one of them",
    ),
    ("50-evaluate", {"evaluations": [{"model": BASE, "suite": "none"}]}, "there is no suite none"),
    (
        "50-evaluate",
        {
            "evaluations": [
                {"model": BASE, "task": "choices", "samples": 4, "generation": {"temperature": 0}}
            ]
        },
        "`samples` 4 without a temperature are the same answer",
    ),
]


def broken(folder: Path, name: str, changes: dict[str, Any]) -> Path:
    """A ladder of one recipe: moxin-nano's with some keys changed."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"extends": str(NANO / path.name), **changes}))
    return path


def proven(path: Path) -> None:
    """What `moxin check` does with one recipe."""
    recipe = read(path)
    launcher = launching.launcher_of(recipe, launching.file_of(recipe))
    door.check(recipe, launcher, on_hardware=False)


@pytest.mark.parametrize(("name", "changes", "message"), BROKEN)
def test_a_rule_is_one_line_before_anything_starts(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        proven(broken(tmp_path, name, changes))
    assert message in str(caught.value)
    assert f"{name}.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "task", ["arc_chalenge", "problems_chats", "no_such_task_anywhere", "../problems_chat"]
)
def test_a_task_that_nobody_has_is_named(task: str) -> None:
    with pytest.raises(RecipeError, match=f"neither this package nor lm-eval has a task {task}"):
        benchmarks.find(task)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("20-pretrain-2k", ["--mixture", "[{source: a, weight: 7}]"], "sum to 1, not to 7"),
        ("40-distill", ["--teacher", "recorded"], "`traces` is missing"),
        ("30-sft", ["--num_train_epochs", "1.5"], "`num_train_epochs` must be a whole number"),
    ],
)
def test_the_same_line_at_each_door(
    doors: Workplace, name: str, words: list[str], message: str
) -> None:
    shutil.rmtree(doors.ladder, ignore_errors=True)
    broken(doors.ladder, name, read(NANO / f"{name}.yaml", words).values)
    checked = doors.moxin("check", str(doors.ladder), "--hub", "local")
    ran = doors.run()
    broken(doors.ladder, name, {})
    launched = doors.launch(name.split("-")[1], name, *words)
    lines = [done.stderr.strip().splitlines()[-1] for done in (checked, ran, launched)]
    assert message in lines[0]
    assert lines[0].startswith("error: ")
    assert len(set(lines)) == 1
    assert not (doors.home / "runs").exists()  # nothing began


def test_a_model_of_the_hub_has_fewer_positions_at_each_door(
    doors: Workplace, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"n_positions": 64}')
    (tmp_path / "train.jsonl").write_text("{}")
    for file, repo, kind in (("config.json", "m", "model"), ("train.jsonl", "d", "dataset")):
        words = ("hub", "add", str(tmp_path / file), "--as", f"some/{repo}", "--type", kind)
        assert doors.moxin(*words).returncode == 0
    shutil.rmtree(doors.ladder, ignore_errors=True)
    changes = {
        "model_name_or_path": "some/m",
        **dict.fromkeys(("dataset_name", "problems_name"), "some/d"),
    }
    broken(doors.ladder, "31-dpo", changes)
    checked = doors.moxin("check", str(doors.ladder), "--hub", "local")
    for done in (checked, doors.run(), doors.launch("dpo", "31-dpo")):
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("error: ")
        assert "`max_length`: 96 tokens, but some/m@main has 64 positions" in line
    assert not (doors.home / "runs").exists()  # nothing began


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A home with an empty Hub, where commands and stages start at once."""
    base = tmp_path_factory.mktemp("doors")
    (base / "home").mkdir()
    with Workplace(base / "home", base / "ladder").warmed() as place:
        yield place


def test_a_recipe_of_another_stage_is_refused(doors: Workplace) -> None:
    done = dataclasses.replace(doors, ladder=NANO).launch("dpo", "30-sft")
    assert "`stage: sft`: another module runs it, moxin_recipes.stages.sft" in done.stderr
    assert "Traceback" not in done.stderr
