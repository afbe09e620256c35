"""`rope_theta` and `sliding_window` of a recipe reach the model, its config and its logits."""

from pathlib import Path

import torch
from tests.training.conftest import Tiny
from transformers import AutoConfig, AutoModelForCausalLM

from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.stages.sft import stretched


def arguments(**more: float | int) -> SftKeys:
    return SftKeys(
        stage="sft",
        model_name_or_path="m",
        hub_model_id="m",
        global_batch_size=1,
        dataset_name="d",
        **more,  # type: ignore[arg-type]
    )


def logits(tiny: Tiny, folder: Path, keys: SftKeys) -> torch.Tensor:
    config = stretched(AutoConfig.from_pretrained(tiny.folder), keys)
    AutoModelForCausalLM.from_pretrained(tiny.folder, config=config).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)  # as the next stage
    with torch.no_grad():
        ids = torch.randint(4, len(tiny.tokenizer), (1, 30), generator=torch.Generator())
        return model(input_ids=ids).logits[0]


def test_the_keys_reach_the_model(tiny: Tiny, tmp_path: Path) -> None:
    plain = logits(tiny, tmp_path / "plain", arguments())
    full = logits(tiny, tmp_path / "full", arguments(sliding_window=0))
    assert torch.equal(plain[:12], full[:12])  # the tiny model's window is 12
    assert not torch.allclose(plain[20:], full[20:], atol=1e-3)
    assert AutoConfig.from_pretrained(tmp_path / "full").sliding_window is None
    slow = logits(tiny, tmp_path / "slow", arguments(rope_theta=3e5))
    assert not torch.allclose(plain, slow, atol=1e-3)
    saved = AutoConfig.from_pretrained(tmp_path / "slow")
    assert saved.rope_parameters["rope_theta"] == 3e5
    assert saved.sliding_window == 12
