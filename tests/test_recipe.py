"""Recipes: strict keys and types, the command line on top, keys that decide skip and resume."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from moxin_recipes import ladder
from moxin_recipes.recipe import filling, reading
from moxin_recipes.recipe.strict import RecipeError
from tests.conftest import ROOT

SFT: dict[str, Any] = {
    "stage": "sft",
    "model_name_or_path": "base@pretrain",
    "dataset_name": "chat@data",
    "hub_model_id": "sft",
    "global_batch_size": 32,
    "per_device_train_batch_size": 8,
    "bf16": False,
}


def load(folder: Path, *overrides: str, **changes: Any) -> reading.Recipe:
    path = folder / "30-sft.yaml"
    path.write_text(yaml.safe_dump({**SFT, **changes}))
    return reading.load(path, list(overrides))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learnin_rate": 1e-4}, "unknown key `learnin_rate`; did you mean `learning_rate`?"),
        ({"zzzzzz": 1}, "unknown key `zzzzzz`"),
        ({"max_steps": 2.5}, "`max_steps` must be int, not 2.5 (float)"),
        ({"max_steps": True}, "`max_steps` must be int, not True (bool)"),
        ({"learning_rate": "fast"}, "`learning_rate` must be float, not 'fast' (str)"),
        ({"bf16": "yes please"}, "`bf16` must be bool | None"),
        ({"lr_scheduler_type": "cosin"}, "cosin is not a valid SchedulerType"),
        ({"gradient_accumulation_steps": 2}, "it follows from global_batch_size"),
        ({"hub_token": "hf_x"}, "secrets do not belong in a recipe"),
        ({"trust_remote_code": True}, "no code of a repository is run here"),
        ({"load_in_4bit": True}, "LoRA keys (use_peft) save memory"),
        ({"env": {"A": "b"}}, "`env` is not a key of a recipe"),
        ({"global_batch_size": 12}, "`global_batch_size` 12 is not a multiple of"),
    ],
)
def test_a_wrong_key_or_type_is_one_clear_error(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        filling.fill(load(tmp_path, **changes), processes=1)
    assert message in str(caught.value)
    assert "30-sft.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--z_loss 1e-5 --use_liger_kernel true", "`z_loss`: liger's kernel knows none"),
        ("--optimizer muon", "`optimizer: muon` needs whole matrices"),
    ],
)
def test_what_the_gpus_would_refuse_is_refused_before(words: str, message: str) -> None:
    path = ROOT / "recipes/moxin-7b/20-pretrain-2k.yaml"
    of = reading.load(path, words.split())
    with pytest.raises(RecipeError, match=message):
        filling.fill(of, ladder.processes(ladder.launcher_file(of)), on_hardware=False)
    assert ladder.launcher_file(reading.load(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage: sft\nseed: 1\nseed: 2\n", "`seed` is given twice, in lines 2 and 3"),
        ("stage: bake\n", "`stage` must be one of data, init, pretrain"),
        ("stage: [sft\n", "not YAML"),
        ("", "`stage` must be one of"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"30-sft\.yaml") as caught:
        reading.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nested_lists_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "00-data.yaml"
    path.write_text(
        "stage: data\nhub_corpus_id: a\nhub_tokens_id: b\nsources: [{name: x, max_byte: 1}]\n"
    )
    with pytest.raises(RecipeError) as caught:
        reading.check(reading.load(path))
    assert "`sources[0].max_byte`; did you mean `max_bytes`?" in str(caught.value)


def test_a_phase_of_pretraining_has_a_number_of_steps(tmp_path: Path) -> None:
    path = tmp_path / "20-pretrain.yaml"
    values = {**SFT, "stage": "pretrain", "context_length": 8, "mixture": []}
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(RecipeError, match="`max_steps` is missing"):
        reading.check(reading.load(path))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text("stage: sft\nseed: 1\n")
    with pytest.raises(RecipeError, match="`hub_model_id` is missing"):
        reading.check(reading.load(path))


def test_the_command_line_wins_and_is_not_abbreviated(tmp_path: Path) -> None:
    of = load(tmp_path, "--learning_rate", "4e-6", "--max_steps=7", "--push_to_hub", "false")
    own, _, args = filling.fill(of, processes=2)
    assert args.learning_rate == 4e-6
    assert args.max_steps == 7
    assert own.push_to_hub is False
    assert args.gradient_accumulation_steps == 2
    _, _, many = filling.fill(of, processes=16)
    assert (many.per_device_train_batch_size, many.gradient_accumulation_steps) == (2, 1)
    with pytest.raises(RecipeError, match="unknown key `learning_rat`"):
        reading.check(load(tmp_path, "--learning_rat", "1e-5"))


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text(yaml.safe_dump(SFT) + "learning_rate: 5e-6\nsave_strategy: no\n")
    assert reading.load(path).values["learning_rate"] == 5e-6
    assert reading.load(path).values["save_strategy"] == "no"
    assert reading.load(path).values["bf16"] is False


def test_the_key_is_of_what_decides_the_result(tmp_path: Path) -> None:
    parents = [("dataset_name", "d1"), ("model_name_or_path", "m1")]
    key = load(tmp_path).key(parents)
    same = load(tmp_path, output_dir="/x", hub_model_id="y", logging_steps=3, save_steps=9)
    assert same.key(parents) == key
    # A run that stopped at these goes on with another value.
    limits = load(tmp_path, keep_checkpoints=3, max_skipped_steps=5, push_checkpoints=False)
    assert limits.key(parents) == key
    assert load(tmp_path).key(parents[::-1]) != key  # the last model is the released one
    assert load(tmp_path, weight_decay=0).key(parents) == load(tmp_path, weight_decay=0.0).key(
        parents
    )
    assert load(tmp_path, dataset_name="chat@other").key(parents) == key  # its payload counts
    assert load(tmp_path, learning_rate=1e-5).key(parents) != key
    assert load(tmp_path).key([("dataset_name", "d2"), ("model_name_or_path", "m1")]) != key


def test_the_key_is_of_the_users_own_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    template, module = Path("mine.jinja"), Path("judges", "strict.py")
    module.parent.mkdir()
    keys = set()
    for turn, words in (("user", "0"), ("system", "0"), ("system", "1")):
        template.write_text(turn)
        module.write_text(f"def short(completions, answers): return {words}")
        of = load(tmp_path, chat_template="mine.jinja", rewards=["math", "judges.strict:short"])
        keys.add(of.key([]))
        assert of.key([]) in keys
    assert len(keys) == 3
    elsewhere = load(tmp_path, chat_template="tulu.jinja", rewards=["math"])
    before = elsewhere.key([])
    template.unlink()
    assert elsewhere.key([]) == before


def test_references_and_outputs_are_plain_data(tmp_path: Path) -> None:
    of = load(tmp_path)
    assert of.references == [
        reading.Reference("dataset_name", "dataset", "chat", "data"),
        reading.Reference("model_name_or_path", "model", "base", "pretrain"),
    ]
    assert of.outputs == {"hub_model_id": "sft"}
    assert of.tag == "sft"


def test_rewards_are_looked_up_before_anything_starts() -> None:
    wrong = reading.Recipe(
        Path("40-distill.yaml"), {"stage": "distill", "rewards": ["math", "fromat"]}
    )
    with pytest.raises(RecipeError, match=r"`rewards`: there is no fromat; use math"):
        ladder.check_rewards([wrong])
    ladder.check_rewards(
        [reading.Recipe(Path("42-grpo.yaml"), {"stage": "grpo", "rewards": ["code"]})]
    )


VARIANTS = [
    path
    for folder in ("moxin-7b-ii", "moxin-7b-grpo-staged")
    for path in sorted((ROOT / "recipes" / folder).glob("*.yaml"))
]


@pytest.mark.parametrize("path", VARIANTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_variant_is_filled_for_its_processes(path: Path) -> None:
    of = reading.load(path)
    launcher = yaml.safe_load((ROOT / of.values["accelerate_config"]).read_text())
    *_, args = filling.fill(of, launcher["num_processes"], on_hardware=False)
    steps = args.gradient_accumulation_steps * args.per_device_train_batch_size
    assert steps * launcher["num_processes"] == of.values["global_batch_size"]
    assert {r.key for r in of.references} == {"model_name_or_path", "dataset_name"}
