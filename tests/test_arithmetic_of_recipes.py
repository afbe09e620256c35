"""The sums in the comments of recipes for GPUs come out, and are about the keys beside them."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from moxin_recipes.ladder import launching
from moxin_recipes.plan import published
from moxin_recipes.plan.flops import of_token
from moxin_recipes.plan.gpus import GPUS
from moxin_recipes.plan.published import Run
from moxin_recipes.recipe import door, trainers
from moxin_recipes.recipe.memory import Shape
from moxin_recipes.recipe.reading import read
from tests.conftest import ROOT

FILES = sorted(ROOT.glob("recipes/moxin-7b*/*.yaml"))
SMALLER = sorted(ROOT.glob("recipes/moxin-300m/*.yaml"))
PRETRAINING = [path for path in FILES if "pretrain" in path.stem]
NUMBER = r"[\d,]*\d(?:\.\d+)?(?:e-?\d+)?π?"
# A sum: numbers with an operator between them, an equals sign, a number.
SUM = re.compile(
    rf"((?:[(]|cos[(])*{NUMBER}(?:[)]|\s*[×/+-]\s*(?:(?:cos)?[(])*{NUMBER})+)\s*=\s*({NUMBER})"
)


def prose(path: Path) -> str:
    """The comments of a recipe and of what it extends, without the words that stand for units."""
    lines = path.read_text().splitlines()
    for line in lines:
        if line.startswith("extends: "):
            lines = lines + (path.parent / line.removeprefix("extends: ")).read_text().splitlines()
            break
    comments = [line.partition("#")[2].strip() for line in lines]
    return re.sub(r"\b(nodes?|GPUs)\b ?", "", " ".join(comments))


def value(text: str) -> float:
    text = text.replace(",", "").replace("×", "*").replace("π", "*math.pi")
    text = text.replace("cos", "math.cos")
    return float(eval(text, {"math": math}))  # noqa: S307 (SUM lets numbers and operators through)


def comes_out(left: str, right: str) -> bool:
    """Whether both sides agree to the last digit that is written."""
    digits, _, exponent = right.replace(",", "").partition("e")
    decimals = len(digits.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - decimals)
    return abs(value(left) - value(right)) <= unit / 2 * (1 + 1e-9)


def test_the_reader_of_sums_finds_what_is_wrong() -> None:
    text = "64 × (2 + 3) / 2 = 160, 1,024 × 2,048 = 2,097,153 and 1 × (1 + cos(0.8π)) = 0.191"
    found = SUM.findall(text)
    assert [comes_out(*sides) for sides in found] == [True, False, True]


@pytest.mark.parametrize(
    "path", FILES + SMALLER, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_sum_comes_out(path: Path) -> None:
    wrong = [f"{left} = {right}" for left, right in SUM.findall(prose(path))]
    wrong = [text for text in wrong if not comes_out(*text.split(" = "))]
    assert not wrong


def planned_rate(values: dict[str, Any]) -> float:
    """Tokens a second of one of 64 H100, as `moxin plan` has them for these settings."""
    shape, length = Shape(32000, 4096, 14336, 36, 32, 8, tied=False), values["context_length"]
    run = Run(shape, length, True, values["selective_checkpointing"], compiled=False)
    share, _ = published.mfu(GPUS["h100"], 64, run)
    return round(share * GPUS["h100"].peak(mixed=True) / of_token(shape, length), 1)


@pytest.mark.parametrize(
    "path",
    PRETRAINING + [path for path in SMALLER if "pretrain" in path.stem],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_pretraining_states_batch_tokens_and_hours(path: Path) -> None:
    recipe, text = read(path), prose(path)
    steps, batch = recipe.values["max_steps"], recipe.values["global_batch_size"]
    context = recipe.values["context_length"]
    a_step = batch * context
    processes = launching.launcher_of(recipe, launching.file_of(recipe)).processes
    micro, accumulations = trainers.batches(recipe, processes)
    assert f"{micro} × {processes} × {accumulations} = {batch:,} sequences" in text
    assert f"{batch:,} × {context:,} = {a_step:,}" in text
    assert f"Tokens of the phase: {steps:,} × {a_step:,} = {steps * a_step:,}" in text
    if path in SMALLER:  # its hours stand in its folder's README (tests/plan/test_plan.py)
        return
    rate = planned_rate(recipe.values)
    hours = steps * a_step / (processes * rate * 3600)
    a_second = f"({processes} × {rate:,} × 3,600)"
    assert f"Hours of the phase: {steps:,} × {a_step:,} / {a_second} = {hours:,.1f}" in text
    assert len(SUM.findall(text)) >= 6


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if read(path).stage in ("pretrain", "sft", "dpo")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_training_says_its_kernel_and_cost_and_keeps_two_terabytes_at_most(path: Path) -> None:
    values = read(path).values
    if values["stage"] != "dpo":  # its pairs are padded
        assert values["attn_implementation"] == "flash_attention_2"
    assert (values["gpu_price"], values["gpu_watts"]) == (2.0, 700)
    branches = values.get("max_steps", 0) // values["save_steps"]
    assert min(branches, values.get("keep_checkpoints", branches)) * 32_456_720_384 < 2e12


@pytest.mark.parametrize(
    "path", FILES + SMALLER, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_libraries_accept_every_recipe(path: Path) -> None:
    recipe = read(path)
    launcher = launching.launcher_of(recipe, launching.file_of(recipe))
    door.check(recipe, launcher, on_hardware=False)


def differing(one: Path, other: Path) -> set[str]:
    values: list[dict[str, Any]] = [read(path).values for path in (one, other)]
    first, second = values
    return {key for key in first | second if first.get(key) != second.get(key)}


@pytest.mark.parametrize("name", ["20-pretrain-2k", "21-pretrain-4k", "22-pretrain-enhance"])
def test_the_expanded_arm_differs_in_its_model_and_learning_rate(name: str) -> None:
    main, arm = (ROOT / f"recipes/{f}/{name}.yaml" for f in ("moxin-7b", "moxin-7b-expanded"))
    keys = {"model_name_or_path", "hub_model_id", "learning_rate"}
    assert differing(main, arm) in (keys, keys | {"lr_scheduler_kwargs"})


@pytest.mark.parametrize("name", ["22-pretrain-enhance-42069", "23-pretrain-enhance-666"])
def test_the_seeds_of_the_averaged_arm_differ_in_their_seed(name: str) -> None:
    main = ROOT / "recipes/moxin-7b/22-pretrain-enhance.yaml"
    arm = ROOT / f"recipes/moxin-7b-averaged/{name}.yaml"
    assert differing(main, arm) == {"hub_model_id", "seed"}
