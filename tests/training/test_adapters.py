"""LoRA: what the merged model says is what the trained adapter said, for each trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tests.tiny import turns
from tests.training.conftest import Tiny, quiet
from transformers import AutoModelForCausalLM, Trainer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig

from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.hub.pull import Parent
from moxin_recipes.training import adapters
from moxin_recipes.training.trainers import PackedSFTTrainer


def lora() -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")


def sft(tiny: Tiny, folder: Path, values: dict[str, Any]) -> Trainer:
    chats = Dataset.from_dict({"messages": [turns("how many?", "12 or 13")] * 4})
    encoded = encode_chats(chats, tiny.tokenizer, 32, folder / "chats")
    rows = PackedRows(encoded, 32, 1, 0, 1, tiny.tokenizer.pad_token_id)
    return PackedSFTTrainer(
        model=tiny.model(),
        args=SFTConfig(**values),
        train_dataset=rows.as_dataset(),
        processing_class=tiny.tokenizer,
        peft_config=lora(),
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
