"""What decides the result: the class of each key, the key of a stage, what is told of changes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from tests.conftest import ROOT
from tests.recipe.test_reading import SFT
from tests.warm import launcher_environment

from moxin_recipes.recipe import fields, trainers
from moxin_recipes.recipe.identity import Identity, identity
from moxin_recipes.recipe.keys import keys_of, stages
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.library_keys import LAUNCHER_KEYS, LIBRARY_KEYS
from moxin_recipes.recipe.reading import read

CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
PARENTS = [("dataset_name", "d1"), ("model_name_or_path", "m1")]


def of(
    folder: Path, launcher: Launcher | None = None, payloads: Any = PARENTS, **changes: Any
) -> Identity:
    """The identity of an SFT recipe with some keys changed."""
    path = folder / "30-sft.yaml"
    path.write_text(yaml.safe_dump({**SFT, **changes}))
    return identity(read(path), payloads, launcher or Launcher())


def test_every_key_of_the_installed_libraries_has_a_class() -> None:
    libraries = {path for stage in stages() for path in keys_of(stage).libraries}
    installed = {
        f.name for kind in trainers.classes(tuple(libraries)) for f in dataclasses.fields(kind)
    }
    assert installed == LIBRARY_KEYS.keys(), "put each new name into a list of library_keys.py"
    cluster = {field.name for field in dataclasses.fields(ClusterConfig)}
    assert cluster == LAUNCHER_KEYS.keys(), "put each new name into a list of library_keys.py"


def test_of_our_own_keys_these_leave_the_result_as_it_is() -> None:
    """A new key decides the result until it is named here, beside the class in its file."""
    classes = {f.name: fields.class_of(f) for s in stages() for f in dataclasses.fields(keys_of(s))}
    harmless = {name for name, kind in classes.items() if kind == "harmless"}
    assert {name for name in harmless if not name.startswith("hub_")} == {
        *("accelerate_config", "output_dir", "push_to_hub", "push_checkpoints", "keep_checkpoints"),
        *("gpu_watts", "gpu_price", "token_cache_dir", "token_cache_gb", "max_skipped_steps"),
        *("executor", "workers", "slurm_partition", "slurm_time", "slurm_memory"),
        *("base_url", "request_seconds", "accept_parts", "push_training_state"),
    }
    rounding = {name for name, kind in classes.items() if kind == "rounding"}
    batches = {"concurrency", "eval_batch_size"}
    assert rounding == {"attn_implementation", "selective_checkpointing", *batches}


HARMLESS = {
    "ddp_timeout": 7200,
    "dataloader_num_workers": 2,
    "dataloader_pin_memory": False,
    "save_steps": 9,
    "logging_steps": 3,
    "keep_checkpoints": 3,
    "push_checkpoints": False,
    "push_training_state": True,
    "output_dir": "/x",
    "hub_model_id": "y",
    "run_name": "mine",
    "gpu_price": 2.0,
}
ROUNDING = {
    "per_device_train_batch_size": 4,
    "torch_compile": True,
    "attn_implementation": "eager",
    "gradient_checkpointing": False,
    "use_liger_kernel": False,
    "use_cpu": True,
}
RESULT = {
    "learning_rate": 1e-5,
    "seed": 7,
    "global_batch_size": 64,
    "max_steps": 3,
    "bf16": True,
    "num_train_epochs": 3,
    "prompt_suffix": "!",
    "eval_rows": 3,
}


@pytest.mark.parametrize("key", HARMLESS | ROUNDING)
def test_what_leaves_the_result_as_it_is_leaves_the_key(tmp_path: Path, key: str) -> None:
    value = (HARMLESS | ROUNDING)[key]
    changed = of(tmp_path, **{key: value})
    assert changed.key == of(tmp_path).key
    assert changed.class_of(key) == ("harmless" if key in HARMLESS else "rounding")


@pytest.mark.parametrize("key", RESULT)
def test_what_decides_the_result_decides_the_key(tmp_path: Path, key: str) -> None:
    assert of(tmp_path, **{key: RESULT[key]}).key != of(tmp_path).key


def test_inputs_count_by_their_files(tmp_path: Path) -> None:
    key = of(tmp_path).key
    assert of(tmp_path, dataset_name="chat@other").key == key
    assert of(tmp_path, payloads=[("dataset_name", "d2"), PARENTS[1]]).key != key
    assert of(tmp_path, weight_decay=0).key == of(tmp_path, weight_decay=0.0).key
    models = [("models", "a"), ("models", "b")]
    assert of(tmp_path, payloads=models).key != of(tmp_path, payloads=models[::-1]).key


def test_a_default_that_is_written_down_is_the_default(tmp_path: Path) -> None:
    assert of(tmp_path, seed=42, eval_rows=400, prompt_suffix="").key == of(tmp_path).key


def test_where_sampling_draws_rounding_decides(tmp_path: Path) -> None:
    path = ROOT / "recipes" / "moxin-nano" / "42-grpo.yaml"
    one, two = (identity(read(path), [], Launcher(processes=n)) for n in (1, 2))
    assert one.key != two.key
    halves = identity(read(path, ["--per_device_train_batch_size", "64"]), [], Launcher())
    assert halves.key != one.key
    quiet = identity(read(path, ["--num_completions_to_print", "3"]), [], Launcher())
    assert quiet.key == one.key
    assert of(tmp_path, Launcher(processes=2)).key == of(tmp_path).key  # sums alone


def test_precision_of_the_launch_decides(tmp_path: Path) -> None:
    def key(launcher: Launcher | None = None, **changes: Any) -> str:
        return of(tmp_path, launcher, **{"bf16": False, **changes}).key

    plain = key()
    half = of(tmp_path, Launcher(mixed_precision="bf16"), bf16=False)
    assert half.key != plain
    assert half.values["launcher.precision"] == "bf16"
    eight = Launcher(sharded=True, processes=8)
    assert key(eight) == plain  # float32 everywhere
    assert of(tmp_path, eight, bf16=True).values["launcher.param_dtype"] == "bf16"
    assert key(eight, bf16=True) != key(Launcher(processes=8), bf16=True)
    # The recipe's precision wins over the launcher's, and TRL's default is the recipe's.
    assert key(Launcher(mixed_precision="bf16"), bf16=True) == key(bf16=True) == key(bf16=None)
    assert key(Launcher(mixed_precision="fp16"), bf16=None) == key(bf16=True)
    assert key(fp16=True, bf16=None) == key(fp16=True)


@pytest.mark.parametrize("stage", [s for s in stages() if keys_of(s).libraries])
def test_what_a_trainer_makes_of_no_precision(stage: str) -> None:
    trainer = trainers.classes(keys_of(stage).libraries)[-1]
    made = trainer(output_dir="x", use_cpu=True)
    assert bool(made.bf16) == keys_of(stage).bf16_by_default


def test_random_numbers_of_a_micro_batch_make_rounding_decide(tmp_path: Path) -> None:
    def alike(**changes: Any) -> bool:
        one = of(tmp_path, per_device_train_batch_size=8, **changes).key
        return one == of(tmp_path, per_device_train_batch_size=4, **changes).key

    assert alike()
    assert not alike(use_peft=True)  # TRL's dropout is 0.05
    assert alike(use_peft=True, lora_dropout=0.0)
    assert not alike(neftune_noise_alpha=5.0)


def test_what_chooses_the_weights_decides(tmp_path: Path) -> None:
    best = {"load_best_model_at_end": True}
    assert of(tmp_path, save_steps=9, **best).key != of(tmp_path, save_steps=10, **best).key
    path = ROOT / "recipes" / "moxin-nano" / "31-dpo.yaml"
    few, many = (
        identity(read(path, ["--per_device_eval_batch_size", n]), [], Launcher())
        for n in ("80", "300")
    )
    assert few.key != many.key  # TRL's preference accuracy is a mean over batches
    data = ROOT / "recipes" / "moxin-nano" / "00-data.yaml"
    whole, part = (identity(read(data, w), [], Launcher()) for w in ([], ["--hub_chat_id", "null"]))
    assert whole.key != part.key  # the tokenizer learns from chats


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_process_and_the_ladder_see_the_same_launch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, processes = launcher_environment(path, "moxin_recipes.stages.sft")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    machines = Launcher.of_file(path).machines
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes // machines))
    # Several processes are not told of `use_cpu`.
    told = dataclasses.replace(Launcher.of_environment(), on_cpu=Launcher.of_file(path).on_cpu)
    assert told == Launcher.of_file(path)


def test_a_stage_that_does_not_train_is_the_same_under_any_launcher() -> None:
    path = ROOT / "recipes" / "moxin-nano" / "40-distill.yaml"
    wide = Launcher(processes=8, mixed_precision="bf16", sharded=True)
    assert identity(read(path), [], wide).key == identity(read(path), [], Launcher()).key


def test_the_key_is_of_the_users_own_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    template, module = Path("mine.jinja"), Path("judges", "strict.py")
    module.parent.mkdir()
    absolute = tmp_path / "absolute.jinja"
    absolute.write_text("a")
    first = of(tmp_path, chat_template=str(absolute)).key
    absolute.write_text("b")
    assert of(tmp_path, chat_template=str(absolute)).key != first
    keys = set()
    for turn, words in (("user", "0"), ("system", "0"), ("system", "1")):
        template.write_text(turn)
        module.write_text(f"def short(completions, answers): return {words}")
        keys.add(of(tmp_path, chat_template="mine.jinja", rewards=["judges.strict:short"]).key)
    assert len(keys) == 3
    before = of(tmp_path, chat_template="tulu.jinja").key
    template.unlink()
    assert of(tmp_path, chat_template="tulu.jinja").key == before


def test_differences_are_told_in_few_words(tmp_path: Path) -> None:
    before = of(tmp_path, learning_rate=1e-3)
    now = of(
        tmp_path,
        payloads=[("dataset_name", "d2"), PARENTS[1]],
        ddp_timeout=7200,
        learning_rate=2e-3,
    )
    assert now.differences(before.values) == {
        "ddp_timeout": "default → 7200",
        "input dataset_name": "d1 → d2",
        "learning_rate": "0.001 → 0.002",
    }


def test_results_of_the_first_form_keep_their_key(tmp_path: Path) -> None:
    """Recipes as they were, with the keys that they had; later keys of ours have no part.

    Scores of the first form have no items: an evaluation of then is not done today.
    """
    recorded = json.loads((Path(__file__).parent / "old_keys.json").read_text())
    assert {before["values"]["stage"] for before in recorded.values()} == {*stages()} - {"evaluate"}
    for name, before in recorded.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(before["values"], sort_keys=False))
        recipe = read(path)
        payloads = [(r.key, f"{r.repo}@{r.revision}") for r in recipe.references]
        assert identity(recipe, payloads, Launcher()).old_key == before["key"], name
