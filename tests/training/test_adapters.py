"""LoRA: what the merged model says is what the trained adapter said, for each trainer."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tests.tiny import turns
from tests.training.conftest import Tiny, quiet
from transformers import AutoModelForCausalLM, Trainer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, ModelConfig, SFTConfig

from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training import adapters
from moxin_recipes.training.trainers import PackedSFTTrainer


def lora(dropout: float = 0.0) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        lora_dropout=dropout,
    )


def sft(tiny: Tiny, folder: Path, values: dict[str, Any], dropout: float = 0.0) -> Trainer:
    chats = Dataset.from_dict({"messages": [turns("how many?", f"{n} or 13") for n in range(16)]})
    encoded = encode_chats(chats, tiny.tokenizer, 32, folder / "chats")
    rows = PackedRows(encoded, 32, 1, 0, 1, tiny.tokenizer.pad_token_id)
    return PackedSFTTrainer(
        model=tiny.model(),
        args=SFTConfig(**values),
        train_dataset=rows.as_dataset(),
        processing_class=tiny.tokenizer,
        peft_config=lora(dropout),
    )


def dpo(tiny: Tiny, folder: Path, values: dict[str, Any]) -> Trainer:
    answers = [[{"role": "assistant", "content": text}] for text in ("12", "13 or 13")]
    pairs = [{"prompt": turns("how many?"), "chosen": answers[0], "rejected": answers[1]}] * 4
    return DPOTrainer(
        model=tiny.model(),
        args=DPOConfig(**values, loss_type=["sigmoid_norm"], beta=5.0),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tiny.tokenizer,
        peft_config=lora(),
    )


def grpo(tiny: Tiny, folder: Path, values: dict[str, Any]) -> Trainer:
    return GRPOTrainer(
        model=str(tiny.folder),
        reward_funcs=[lambda completion_ids, **_: [float(len(set(c))) for c in completion_ids]],
        args=GRPOConfig(**values, num_generations=4, max_completion_length=8, beta=0.1),
        train_dataset=Dataset.from_list([{"prompt": turns("how many?")}] * 2),
        processing_class=tiny.tokenizer,
        peft_config=lora(),
    )


@pytest.mark.parametrize("build", [sft, dpo, grpo])
def test_the_merged_model_is_the_adapted_one(
    tiny: Tiny,
    tmp_path: Path,
    build: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = quiet(tmp_path, per_device_train_batch_size=4, max_steps=2, optim="adamw_torch")
    trainer = build(tiny, tmp_path, values | {"learning_rate": 0.05})
    base = Parent("model_name_or_path", "model", "me/base", "sft", "c0ffee", "payload")
    trainer.train()
    folder = tmp_path / "result"
    with monkeypatch.context() as no_hub:
        no_hub.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", pytest.fail)
        trainer.save_model(str(folder))
    adapters.name_base(folder, base)
    config = (folder / "adapter_config.json").read_text()
    assert '"me/base"' in config
    assert '"c0ffee"' in config
    assert str(tiny.folder) not in config
    adapters.merge(trainer, folder, tiny.folder)
    assert not list(folder.glob("adapter_*"))
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        adapted = trainer.model.eval()(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(folder)(input_ids=ids).logits
        start = tiny.model()(input_ids=ids).logits
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged, start, atol=1e-2)


@pytest.mark.parametrize(
    ("named", "targets"),
    [
        (["q_proj"], {"q_proj"}),
        (["q_proj", "v_proj"], {"q_proj", "v_proj"}),
        (["all-linear"], "all-linear"),
        ("all-linear", "all-linear"),
        (["all-linear", "all-linear"], "all-linear"),
        ("q_proj", {"q_proj"}),
        (["lm_head", "o_proj"], {"lm_head", "o_proj"}),
        (["embed_tokens"], {"embed_tokens"}),
        (r".*layers\.0.*q_proj", r".*layers\.0.*q_proj"),
    ],
)
def test_modules_are_named_as_the_recipe_has_them(tiny: Tiny, named: Any, targets: Any) -> None:
    listed = list(named) if isinstance(named, list) else named
    kept = ModelConfig(use_peft=True, lora_target_modules=listed)
    config = adapters.configuration(kept, {"lora_target_modules": named})
    assert config is not None
    assert config.target_modules == targets
    adapters.check_names(kept, {"lora_target_modules": named}, tiny.folder)
    adapted = get_peft_model(tiny.model(), config)
    marks = (".lora_A", ".lora_embedding_A")
    names = {
        name.split(mark)[0]
        for name, _ in adapted.named_parameters()
        for mark in marks
        if mark in name
    }
    kinds = {name.rpartition(".")[2] for name in names}
    assert kinds == (targets if isinstance(targets, set) else kinds)
    assert names


@pytest.mark.parametrize("key", ["lora_target_modules", "lora_modules_to_save"])
@pytest.mark.parametrize("named", [["W_pack"], ["q_proj", "W_pack"]])
def test_a_name_that_no_module_has_is_one_line(tiny: Tiny, key: str, named: list[str]) -> None:
    wanted = ModelConfig(use_peft=True, lora_r=4)
    line = f"`{key}`: the model has no module W_pack; its matrices are down_proj, gate_proj, k_proj"
    with pytest.raises(RecipeError, match=line):
        adapters.check_names(wanted, {key: named}, tiny.folder)


@pytest.mark.parametrize(
    ("named", "line"),
    [
        (["self_attn"], ": self_attn is a MistralAttention, and no matrix; "),
        (["q_proj", "mlp"], ": mlp is a MistralMLP, and no matrix; "),
        ("norm", ": norm is a MistralRMSNorm, and no matrix; "),
        (r".*layers\.0\.mlp", r": .*layers\.0\.mlp is a MistralMLP, and no matrix; "),
        ([], " names no module of the model; "),
        ([""], ": the model has no module “”; "),
        (["all-linear", "lm_head"], ": all-linear stands alone, for each matrix but the last; "),
        (["all-linear", "W_pack"], ": all-linear stands alone, for each matrix but the last; "),
        (r".*W_(pack", r": .*W_(pack is no pattern of paths (missing ), unterminated subpattern"),
        (r".*W_pack", r": the model has no module .*W_pack; "),
    ],
)
def test_what_is_no_matrix_is_one_line(tiny: Tiny, named: Any, line: str) -> None:
    wanted = ModelConfig(use_peft=True, lora_r=4)
    with pytest.raises(RecipeError) as raised:
        adapters.check_names(wanted, {"lora_target_modules": named}, tiny.folder)
    assert str(raised.value).startswith(f"`lora_target_modules`{line}")
    if "pattern" not in line:
        assert "; its matrices are down_proj, gate_proj, k_proj, lm_head" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_modules_to_save_may_be_of_any_kind(tiny: Tiny) -> None:
    wanted = ModelConfig(use_peft=True, lora_r=4)
    adapters.check_names(wanted, {"lora_modules_to_save": ["norm", "embed_tokens"]}, tiny.folder)
    with pytest.raises(RecipeError, match=r"`lora_modules_to_save`: the model has no module all-"):
        adapters.check_names(wanted, {"lora_modules_to_save": ["all-linear"]}, tiny.folder)


def test_in_bfloat16_the_merged_model_is_as_exact_as_the_adapter(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Both are a rounding away from the sum in float32; the merged one by no more than that."""
    model = tiny.model().to(torch.bfloat16)
    torch.manual_seed(0)
    adapted = get_peft_model(model, lora())
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted.save_pretrained(tmp_path)
    adapters.merge(SimpleNamespace(model=adapted), tmp_path, tiny.folder)  # type: ignore[arg-type]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert merged.dtype == torch.bfloat16
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        beside, whole = adapted.eval()(ids).logits.float(), merged(ids).logits.float()
        exact = adapted.float()(ids).logits
    off = (whole - exact).abs().mean() / (beside - exact).abs().mean()
    assert 0.2 < off < 1.5
    assert (whole - beside).abs().max() > 0  # they are two roundings


def test_only_dropout_makes_another_micro_batch_another_result(tiny: Tiny, tmp_path: Path) -> None:
    losses: dict[float, list[torch.Tensor]] = {}
    for dropout in (0.0, 0.05):
        for micro in (1, 4):
            folder = tmp_path / f"{dropout}-{micro}"
            values = quiet(folder, per_device_train_batch_size=micro, max_steps=3)
            values |= {"gradient_accumulation_steps": 4 // micro, "learning_rate": 0.01}
            trainer = sft(tiny, folder, values, dropout)
            trainer.train()
            adapter = [p.detach() for n, p in trainer.model.named_parameters() if "lora_B" in n]
            losses.setdefault(dropout, []).append(torch.cat([p.flatten() for p in adapter]))
    differences = {dropout: (a - b).abs().max() for dropout, (a, b) in losses.items()}
    assert differences[0.0] < 1e-6
    assert differences[0.05] > 1e-4
