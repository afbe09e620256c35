"""What a GPU holds: parameters as transformers and PEFT count them, lines whose sums come out."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from tests.conftest import ROOT
from tests.test_arithmetic_of_recipes import comes_out
from transformers import MistralConfig, MistralForCausalLM

from moxin_recipes.ladder import launching, memory, order
from moxin_recipes.recipe import door, trainers
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.memory import Shape, Step, held
from moxin_recipes.recipe.strict import RecipeError

SHAPES = [
    Shape(32000, 4096, 14336, 36, 32, 8, False),
    Shape(512, 64, 96, 3, 4, 1, True),
    Shape(1001, 48, 80, 1, 6, 6, False),
]


def model(shape: Shape) -> MistralForCausalLM:
    with torch.device("meta"):
        return MistralForCausalLM(
            MistralConfig(
                vocab_size=shape.vocabulary,
                hidden_size=shape.hidden,
                intermediate_size=shape.intermediate,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.groups,
                tie_word_embeddings=shape.tied,
            )
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_of_the_model(shape: Shape) -> None:
    assert shape.parameters == sum(p.numel() for p in model(shape).parameters())
    assert shape.layer == sum(p.numel() for p in model(shape).model.layers[0].parameters())


@pytest.mark.parametrize("modules", [["q_proj"], ["k_proj", "v_proj", "o_proj"], ["all-linear"]])
def test_an_adapter_has_the_parameters_of_pefts(modules: list[str]) -> None:
    shape = SHAPES[1]
    wanted: Any = modules[0] if modules == ["all-linear"] else modules
    adapted = get_peft_model(model(shape), LoraConfig(r=5, target_modules=wanted))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert shape.adapter(5, modules) == sum(p.numel() for p in trained)


def lines(ladder: str, name: str, file: str | None = None) -> list[str]:
    recipes = order.read(ROOT / "recipes" / ladder)
    (recipe,) = [recipe for recipe in recipes if recipe.name == name]
    path = ROOT / "accelerate_configs" / f"{file}.yaml" if file else launching.file_of(recipe)
    filled = door.check(recipe, launching.launcher_of(recipe, path), on_hardware=False)
    launched = trainers.as_launched(recipe, filled[-1])
    return list(memory.lines(recipes, recipe, path, launched))


TRAINED = ["20-pretrain-2k", "21-pretrain-4k", "22-pretrain-enhance", "30-sft", "31-dpo"]


@pytest.mark.parametrize("name", [*TRAINED, "41-cot-sft", "42-grpo"])
def test_every_line_comes_out_and_they_make_the_sum(name: str) -> None:
    launch, total, *parts = lines("moxin-7b", name)
    assert "FSDP2" in launch
    assert "computes in bf16, sums gradients in float32 after each micro-batch" in launch
    assert any("8,114,180,096" in part for part in parts)
    sizes = []
    for part in parts:
        if sum_ := re.search(r": (.*) = ([\d.]+) GB$", part):
            assert comes_out(f"({sum_[1]}) / 1e9", sum_[2])
            sizes.append(float(sum_[2]))
    assert float(re.findall(r"[\d.]+ GB", total)[0][:-3]) == pytest.approx(sum(sizes), abs=0.1)
    assert ("vLLM: 0.5" in parts[-1]) == (name == "42-grpo")


def test_what_the_launchers_file_changes() -> None:
    sharded = "\n".join(lines("moxin-7b", "20-pretrain-2k"))
    hybrid = "\n".join(lines("moxin-7b", "20-pretrain-2k", "hsdp_multinode"))
    assert "FSDP2 over 64," in sharded
    assert "FSDP2 over 8 in 8 copies" in hybrid
    assert "weights: 4 × 8,114,180,096 / 8 = 4.06 GB" in hybrid
    assert lines("moxin-7b", "20-pretrain-2k", "cpu") == []


def test_a_model_from_outside_is_not_counted() -> None:
    assert "not counted" in lines("moxin-7b-expanded", "20-pretrain-2k")[1]


def test_what_a_recipe_changes() -> None:
    def parts(**changes: Any) -> dict[str, int]:
        plain: dict[str, Any] = {
            "shards": 8,
            "rows": 2,
            "tokens": 100,
            "sharded": True,
            "mixed": True,
            "checkpointing": True,
            "fused_loss": False,
        }
        return {what: size for what, _, size in held(SHAPES[0], Step(**{**plain, **changes}))}

    plain = parts()
    assert plain["logits"] == 2 * 4 * 200 * 32000
    assert parts(fused_loss=True, rows=64, tokens=4096)["logits"] == 2 * 4 * 2**24
    assert parts(checkpointing=False)["activations"] == 36 * plain["one layer's activations"]
    assert "gathered" not in parts(sharded=False, shards=1)
    assert parts(mixed=False)["gathered"] == 2 * plain["gathered"]
    assert parts(reference=True)["reference model"] == plain["weights"]
    adapter = parts(trained=8_000_000)
    assert adapter["gradients"] == 4_000_000
    assert adapter["optimizer"] == 8_000_000
    assert adapter["weights"] == plain["weights"] + 4_000_000
    assert "optimizer" not in parts(moments=0)


def test_no_file_is_left_to_accelerates_old_defaults(tmp_path: Path) -> None:
    """FSDP1, and no wrapping, are what accelerate makes of a file that says nothing."""
    for missing, key in (("fsdp_version", "fsdp_version"), ("fsdp_auto_wrap_policy",) * 2):
        content = content_of(ROOT / "accelerate_configs" / "fsdp.yaml")
        del content["fsdp_config"][missing]
        file = tmp_path / "less.yaml"
        file.write_text(yaml.safe_dump(content))
        with pytest.raises(RecipeError, match=f"`{key}`"):
            Launcher.of_file(file)
