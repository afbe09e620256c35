"""What leaves a trainer: the cache on, tied weights once, small files, the ends of the chat."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.tiny import tiny_mistral
from transformers import AutoModelForCausalLM, GenerationConfig

from moxin_recipes.models import published
from moxin_recipes.recipe.strict import RecipeError


def weights(folder: Path) -> list[str]:
    names: list[str] = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names += file.keys()
    return names


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_is_saved_as_it_is_to_be_loaded(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_MOST_BYTES", "20KB")
    model: Any = tiny_mistral(tie_word_embeddings=tied, vocab_size=64)
    model.config.use_cache = False  # as the Trainer leaves it
    model.generation_config = GenerationConfig(
        eos_token_id=[2, 7], do_sample=True, top_k=5, use_cache=False
    )
    published.save_as_published(model)
    # FSDP gathers weights one by one: tied ones no longer share their memory.
    gathered = {name: value.clone() for name, value in model.state_dict().items()}
    for folder, state in (("whole", None), ("gathered", gathered)):
        model.save_pretrained(tmp_path / folder, state_dict=state)
        names = weights(tmp_path / folder)
        assert sorted(names) == sorted(dict(model.named_parameters()))
        assert ("lm_head.weight" in names) == (not tied)
        sizes = [path.stat().st_size for path in (tmp_path / folder).glob("*.safetensors")]
        assert len(sizes) > 1
        assert max(sizes) < 25_000
        assert json.loads((tmp_path / folder / "config.json").read_text())["use_cache"] is True
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
        assert loaded.generation_config.eos_token_id == [2, 7]
        assert loaded.generation_config.top_k == 5
        assert loaded.generation_config.use_cache
    assert model.config.use_cache is False  # training goes on as before


def test_generation_settings_that_cannot_be_saved_are_found_before_training() -> None:
    model = tiny_mistral(vocab_size=64)
    model.generation_config = GenerationConfig(do_sample=False, temperature=0.6)
    with pytest.raises(RecipeError, match=r"^`model_name_or_path`: .*temperature.*$"):
        published.save_as_published(model)
