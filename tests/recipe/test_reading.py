"""Recipes: strict keys and types, the command line on top, one recipe on top of another."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT

from moxin_recipes.ladder import launching
from moxin_recipes.recipe import door
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

SFT: dict[str, Any] = {
    "stage": "sft",
    "model_name_or_path": "base@pretrain",
    "dataset_name": "chat@data",
    "hub_model_id": "sft",
    "global_batch_size": 32,
    "per_device_train_batch_size": 8,
    "bf16": False,
}


def load(folder: Path, *overrides: str, **changes: Any) -> Recipe[Any]:
    path = folder / "30-sft.yaml"
    path.write_text(yaml.safe_dump({**SFT, **changes}))
    return read(path, list(overrides))


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
        door.check(load(tmp_path, **changes), Launcher())
    assert message in str(caught.value)
    assert "30-sft.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage: sft\nseed: 1\nseed: 2\n", "`seed` is given twice, in lines 2 and 3"),
        (
            "stage: bake\n",
            "`stage` must be one of data, distill, dpo, evaluate, grpo, init, pretrain",
        ),
        ("stage: [sft\n", "not YAML"),
        ("", "`stage` must be one of"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"30-sft\.yaml") as caught:
        read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nested_lists_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "00-data.yaml"
    path.write_text(
        "stage: data\nhub_corpus_id: a\nhub_tokens_id: b\nsources: [{name: x, max_byte: 1}]\n"
    )
    with pytest.raises(RecipeError) as caught:
        read(path)
    assert "`sources[0].max_byte`; did you mean `max_bytes`?" in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text("stage: sft\nseed: 1\n")
    with pytest.raises(RecipeError, match="`hub_model_id` is missing"):
        read(path)


def test_the_command_line_wins_and_is_not_abbreviated(tmp_path: Path) -> None:
    recipe = load(tmp_path, "--learning_rate", "4e-6", "--max_steps=7", "--push_to_hub", "false")
    _, args = door.check(recipe, Launcher(processes=2))
    assert args.learning_rate == 4e-6
    assert args.max_steps == 7
    assert recipe.keys.push_to_hub is False
    assert args.gradient_accumulation_steps == 2
    _, many = door.check(recipe, Launcher(processes=16))
    assert (many.per_device_train_batch_size, many.gradient_accumulation_steps) == (2, 1)
    with pytest.raises(RecipeError, match="unknown key `learning_rat`"):
        door.check(load(tmp_path, "--learning_rat", "1e-5"), Launcher())
    with pytest.raises(RecipeError, match="`--learning_rate`: not YAML: line 1"):
        load(tmp_path, "--learning_rate", "[1")


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text(yaml.safe_dump(SFT) + "learning_rate: 5e-6\nsave_strategy: no\n")
    assert read(path).values["learning_rate"] == 5e-6
    assert read(path).values["save_strategy"] == "no"
    assert read(path).values["bf16"] is False


def test_references_and_outputs_are_plain_data(tmp_path: Path) -> None:
    of = load(tmp_path)
    assert of.references == [
        Reference("dataset_name", "dataset", "chat", "data"),
        Reference("model_name_or_path", "model", "base", "pretrain"),
    ]
    assert of.outputs == {"hub_model_id": "sft"}
    assert of.tag == "sft"


VARIANTS = [
    path
    for folder in ("moxin-7b-ii", "moxin-7b-grpo-staged")
    for path in sorted((ROOT / "recipes" / folder).glob("[34]?-*.yaml"))  # those that train
]


@pytest.mark.parametrize("path", VARIANTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_variant_is_filled_for_its_processes(path: Path) -> None:
    recipe = read(path)
    launcher = launching.launcher_of(recipe, launching.file_of(recipe))
    *_, args = door.check(recipe, launcher, on_hardware=False)
    # One process stands for all of the launch.
    sequences = args.gradient_accumulation_steps * args.per_device_train_batch_size
    assert sequences == recipe.values["global_batch_size"]
    inputs = {r.key.partition("[")[0] for r in recipe.references}
    assert inputs == {"model_name_or_path", "dataset_name", "decontaminate"}


def extending(folder: Path, base: str, **changes: Any) -> Path:
    """A variant in a folder beside the one of `30-sft.yaml`."""
    (folder / "main").mkdir()
    load(folder / "main")
    (folder / "arm").mkdir()
    path = folder / "arm" / "30-sft.yaml"
    path.write_text(yaml.safe_dump({"extends": base, **changes}))
    return path


def test_a_variant_says_only_what_differs(tmp_path: Path) -> None:
    path = extending(tmp_path, "../main/30-sft.yaml", hub_model_id="arm-sft", learning_rate=1e-4)
    recipe = read(path, ["--seed", "7"])
    assert recipe.values == {**SFT, "hub_model_id": "arm-sft", "learning_rate": 1e-4, "seed": 7}
    assert (recipe.name, recipe.ladder) == ("30-sft", "arm")
    assert "extends" not in recipe.resolved


def test_what_a_variant_cannot_extend_is_one_line(tmp_path: Path) -> None:
    path = extending(tmp_path, "../main/30-sft.yaml")
    deeper = tmp_path / "deeper.yaml"
    for text, message in (
        ("extends: arm/30-sft.yaml\n", "extends another recipe itself"),
        ("extends: main/31-sft.yaml\n", "main/31-sft.yaml: No such file"),
        ("extends: [main/30-sft.yaml]\n", "`extends` is the path of a recipe"),
        ("extends: deeper.yaml\n", "extends another recipe itself"),
        ("extends: main\n", "main: Is a directory"),
    ):
        deeper.write_text(text)
        with pytest.raises(RecipeError) as caught:
            read(deeper)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert read(path).values == SFT


@pytest.mark.parametrize(
    "text",
    [
        "1: 2",
        "true: 2",
        "~: 2",
        "? [a, b]\n: 1",
        "lr_scheduler_kwargs: {1: 2, a: 3}",
        "lr_scheduler_kwargs: {a: !!set {x}}",
        "learning_rate: " + "9" * 400,
        "max_steps: " + "9" * 5000,
        "max_steps: !!int abc",
        "max_steps: !!python/object:os.system x",
        "run_name: " + "[" * 2000,
        'extends: "a\\0b"',
        'prompt_suffix: "\\ud800"',
        "chat_template: " + "x" * 5000,
        "a: &x [*x]",
        "seed: 1\n\tmax_steps: 2",
    ],
)
def test_what_no_recipe_can_hold_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "30-sft.yaml"
    path.write_text(yaml.safe_dump(SFT) + text + "\n")
    with pytest.raises(RecipeError) as caught:
        door.check(read(path), Launcher())
    assert "30-sft.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_date_is_the_word_that_was_written(tmp_path: Path) -> None:
    assert load(tmp_path, "--run_name", "2024-13-45").values["run_name"] == "2024-13-45"
