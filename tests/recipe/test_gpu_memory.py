"""What a GPU holds: parameters as transformers and PEFT count them, lines whose sums come out."""

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from tests.conftest import ROOT
from tests.test_arithmetic_of_recipes import comes_out
from tests.warm import launcher_environment
from transformers import MistralConfig, MistralForCausalLM

from moxin_recipes.ladder import launching, memory, order
from moxin_recipes.models.scratch import mistral_config
from moxin_recipes.plan.tracked import track
from moxin_recipes.recipe import door, trainers
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.memory import Shape, Step, held, most
from moxin_recipes.recipe.strict import RecipeError


def init(hidden: int, intermediate: int, layers: int, heads: int, groups: int) -> InitKeys:
    return InitKeys(
        stage="init",
        hub_model_id="m",
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=64,
    )


SHAPES = [
    Shape(32000, 4096, 14336, 36, 32, 8, False),  # Moxin-7B's
    Shape(512, 64, 96, 3, 4, 1, True),
    Shape(1001, 48, 80, 1, 6, 6, False),
]


def config(shape: Shape) -> MistralConfig:
    """What the stage `init` makes of a recipe with this shape."""
    keys = init(shape.hidden, shape.intermediate, shape.layers, shape.heads, shape.groups)
    keys.tie_word_embeddings = shape.tied
    assert Shape.of_init(keys, shape.vocabulary) == shape
    return mistral_config(keys, {"vocab_size": shape.vocabulary})


def model(shape: Shape) -> MistralForCausalLM:
    with torch.device("meta"):
        return MistralForCausalLM(config(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_of_the_model(shape: Shape) -> None:
    assert shape.parameters == sum(p.numel() for p in model(shape).parameters())
    assert shape.layer == sum(p.numel() for p in model(shape).model.layers[0].parameters())


@pytest.mark.parametrize(
    "modules",
    [
        ["q_proj"],
        ["k_proj", "v_proj", "o_proj"],
        ["self_attn.q_proj", "mlp.up_proj", "q_proj"],
        ["all-linear"],
    ],
)
def test_an_adapter_has_the_parameters_of_pefts(modules: list[str]) -> None:
    shape = SHAPES[1]
    wanted: Any = modules[0] if modules == ["all-linear"] else modules  # as TRL gives it
    adapted = get_peft_model(model(shape), LoraConfig(r=5, target_modules=wanted))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert shape.adapter(5, modules) == sum(p.numel() for p in trained)


@pytest.mark.parametrize("modules", [["lm_head"], ["q_proj", "embed_tokens"], ["proj"]])
def test_an_adapter_of_more_than_the_layers_is_not_counted(modules: list[str]) -> None:
    assert SHAPES[1].adapter(5, modules) is None
    given: dict[str, Any] = {"use_peft": True, "lora_target_modules": modules}
    assert "`lora_target_modules` names more" in lines("moxin-7b", "30-sft", **given)[1]


def lines(ladder: str, name: str, file: str | None = None, **keys: Any) -> list[str]:
    recipes = order.read(ROOT / "recipes" / ladder)
    (recipe,) = [recipe for recipe in recipes if recipe.name == name]
    recipe = replace(recipe, values=recipe.values | keys)
    path = ROOT / "accelerate_configs" / f"{file}.yaml" if file else launching.file_of(recipe)
    filled = door.check(recipe, launching.launcher_of(recipe, path), on_hardware=False)
    launched = trainers.as_launched(recipe, filled[-1])
    return list(memory.lines(recipes, recipe, path, launched))


TRAINED = ["20-pretrain-2k", "21-pretrain-4k", "22-pretrain-enhance", "30-sft", "31-dpo"]


@pytest.mark.parametrize("name", [*TRAINED, "41-cot-sft", "42-grpo"])
def test_every_line_comes_out_and_they_make_the_sum(name: str) -> None:
    launch, total_line, *parts = lines("moxin-7b", name)
    assert "FSDP2" in launch
    assert "computes in bf16, sums gradients in float32 after each micro-batch" in launch
    assert any("8,114,180,096" in part for part in parts)
    sums: dict[str, float] = {}
    for part in parts:
        if found := re.search(r"^  ([^:]*): .*: (.*) = ([\d.]+) GB$", part):
            moment, left, right = found.groups()
            assert comes_out(f"({left}) / 1e9", right)
            sums[moment] = sums.get(moment, 0) + float(right)
    total = re.match(r"memory of a GPU: at most ([\d.]+) GB, in (.*)", total_line)
    assert total
    always = sums.pop("always")
    most = {moment: size + always * (moment != "the start") for moment, size in sums.items()}
    assert float(total[1]) == pytest.approx(most[total[2]], abs=0.1)
    assert most[total[2]] == max(most.values())
    assert ("vLLM: 0.5" in parts[-1]) == (name == "42-grpo")


def test_what_the_launchers_file_changes() -> None:
    sharded = "\n".join(lines("moxin-7b", "20-pretrain-2k"))
    assert "layers are in part computed again in the backward pass" in sharded
    assert "layers are computed again in the backward pass" in lines("moxin-7b", "30-sft")[0]
    hybrid = "\n".join(lines("moxin-7b", "20-pretrain-2k", "hsdp_multinode"))
    assert "FSDP2 over 64," in sharded
    assert "FSDP2 over 8 in 8 copies" in hybrid
    assert "weights: 4 × 8,114,180,096 / 8 = 4.06 GB" in hybrid
    assert lines("moxin-7b", "20-pretrain-2k", "cpu") == []


def test_what_the_recipe_says_beside_the_file(tmp_path: Path) -> None:
    assert "at most 32.5 GB, in the start" in lines("moxin-7b", "31-dpo")[1]
    whole = {"gradient_accumulation_kwargs": {"sync_each_batch": False}}
    left = "\n".join(lines("moxin-7b", "31-dpo", accelerator_config=whole))
    assert "sums gradients in float32 once a step" in left
    assert "gradients, whole: 4 × 8,114,180,096 = 32.46 GB" in left
    both = "\n".join(lines("moxin-7b", "31-dpo", precompute_ref_log_probs=False))
    assert "the reference's pass: gathered whole: 2 × 8,114,180,096 = 16.23 GB" in both
    adapted = "\n".join(lines("moxin-7b", "30-sft", use_peft=True, dtype="bfloat16"))
    trained = 36 * 16 * (2 * 4096 + 4096 + 1024)  # rank 16 at queries and values
    assert "weights: 2 × 8,114,180,096 / 64 = 0.25 GB" in adapted
    assert f"gradients: 4 × {trained:,} / 64" in adapted
    plain = lines("moxin-7b", "30-sft", "fsdp", bf16=False)
    assert "computes in bf16" in plain[0]  # the file's mixed precision holds where `bf16` is off


def test_a_model_from_outside_is_not_counted() -> None:
    assert "not counted" in lines("moxin-7b-expanded", "20-pretrain-2k")[1]


BACKWARD = "a layer's backward pass"
PLAIN = Step(
    shards=8, rows=2, tokens=256, sharded=True, mixed=True, checkpointing=True, pieces=True
)
WIDE = Shape(2000, 512, 1792, 5, 8, 2, False)


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ({"rows": 16}, BACKWARD),
        ({"rows": 16, "mixed": False}, BACKWARD),
        ({"rows": 1, "tokens": 64}, BACKWARD),
        ({"shards": 64, "layers": 7, "rows": 12}, BACKWARD),
        ({"rows": 16, "checkpointing": False}, "loss"),
        ({"rows": 16, "selective": True}, BACKWARD),
        ({"rows": 16, "selective": True, "sharded": False, "shards": 1}, BACKWARD),
        ({"vocabulary": 32000, "tokens": 64}, "loss"),
        ({"vocabulary": 32000, "tokens": 1024}, "loss"),
        ({"vocabulary": 32000, "tokens": 64, "mixed": False}, "loss"),
    ],
)
def test_the_sum_is_what_a_step_holds(given: dict[str, Any], moment: str) -> None:
    """Never less than FSDP2 of that many processes really holds at once, and not much more."""
    changes = dict(given)
    sizes = {key: changes.pop(key) for key in ("vocabulary", "layers") if key in changes}
    shape, step = replace(WIDE, **sizes), replace(PLAIN, **changes)
    expected, when = most(held(shape, step))
    assert when == moment
    assert 1 <= expected / track(shape, step).peak < 1.25


def test_what_a_recipe_changes() -> None:
    def parts(**changes: Any) -> dict[str, int]:
        return {part.what: part.size for part in held(SHAPES[0], replace(PLAIN, **changes))}

    plain = parts()
    assert parts(shards=16)["weights"] == plain["weights"] / 2
    assert parts(rows=64, tokens=4096)["logits, their gradients"] == 12 * 2**27
    assert parts(pieces=False, rows=64)["logits, their gradients"] == 2 * 2 * 4096 * 32000
    assert parts(rows=4)["layers' inputs"] == 2 * plain["layers' inputs"]
    assert "two layers, gathered" not in parts(sharded=False, shards=1)
    assert parts(mixed=False)["two layers, gathered"] == 2 * plain["two layers, gathered"]
    reference = parts(reference=True)
    assert reference["reference model"] == plain["weights"]
    assert reference["gathered whole"] == 2 * SHAPES[0].parameters
    adapter = parts(trained=8_000_000)
    assert adapter["gradients"] == 4_000_000
    assert adapter["optimizer"] == 8_000_000
    assert (adapter["weights"], adapter["adapter"]) == (plain["weights"], 4_000_000)
    assert parts(trained=8, frozen=2)["weights"] == plain["weights"] / 2
    copies = parts(sharded=False, shards=1, buckets=True)
    assert copies["gradients in DDP's buckets"] == copies["gradients"]
    assert copies["weights as autocast keeps them"] == copies["weights"] / 2
    assert parts(whole=True)["gradients, whole"] == 8 * plain["gradients"]
    assert "optimizer" not in parts(moments=0)


@pytest.mark.parametrize("missing", ["fsdp_version", "fsdp_auto_wrap_policy"])
def test_no_file_is_left_to_accelerates_old_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """FSDP1, and no wrapping, are what accelerate makes of a file that says nothing."""
    content = content_of(ROOT / "accelerate_configs" / "fsdp.yaml")
    file = tmp_path / "less.yaml"
    for there in (True, False):
        if not there:
            del content["fsdp_config"][missing]
        file.write_text(yaml.safe_dump(content))
        environment, _ = launcher_environment(file, "module")
        with monkeypatch.context() as launched:
            for name in ("FSDP_VERSION", "FSDP_AUTO_WRAP_POLICY"):
                launched.delenv(name, raising=False)
            for name, value in environment.items():
                launched.setenv(name, value)
            doors = (lambda: Launcher.of_file(file), Launcher.of_environment)
            for door_ in doors:
                with nullcontext() if there else pytest.raises(RecipeError, match=f"`{missing}`"):
                    door_()
