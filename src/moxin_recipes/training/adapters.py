"""LoRA: adapters name their base on the Hub, and a stage's result is the merged model."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, Trainer
from trl import ModelConfig, get_peft_config

from moxin_recipes.hub.files import write_json
from moxin_recipes.hub.pull import Parent
from moxin_recipes.models import published
from moxin_recipes.recipe.strict import RecipeError

ALL = "all-linear"


def configuration(model_config: ModelConfig, recipe: Mapping[str, Any]) -> PeftConfig | None:
    """The recipe's LoRA, None without `use_peft`.

    TRL makes a text of a list with one name, and PEFT reads a text as a pattern of whole paths.
    """
    config: PeftConfig | None = get_peft_config(model_config)
    named = recipe.get("lora_target_modules")
    if config is not None and isinstance(named, list) and named != [ALL]:
        config.target_modules = set(named)
    return config


def check_names(model_config: ModelConfig, recipe: Mapping[str, Any], folder: Path) -> None:
    """Raises RecipeError for a name that no module of the model in `folder` has."""
    if not model_config.use_peft:
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    paths = [name for name, _ in model.named_modules()]
    for key in ("lora_target_modules", "lora_modules_to_save"):
        given = recipe.get(key) or []
        for name in [given] if isinstance(given, str) else given:
            there = any(path == name or path.endswith(f".{name}") for path in paths)
            whole = isinstance(given, str) and any(re.fullmatch(name, path) for path in paths)
            if name != ALL and not there and not whole:
                raise RecipeError(
                    f"`{key}`: the model has no module {name}; its matrices are "
                    f"{', '.join(sorted(linear))}, or write {ALL}"
                )


def name_base(checkpoint: Path, base: Parent) -> None:
    """Writes the base's commit on the Hub into a saved adapter, which then loads on any machine.

    While it trains, an adapter names its base's folder: PEFT looks at the base at each save, and on
    the Hub it would do so on each rank, amid a collective.
    """
    path = checkpoint / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, config | {"base_model_name_or_path": base.repo, "revision": base.commit})


def merge(trainer: Trainer, folder: Path, start: Path) -> None:
    """Replaces the adapter in `folder` by the merged model, on one process.

    The weights of `start` are read again, so the trainer's sharding does not matter. The next stage
    loads the result like any other model. The sum is made in float32 and rounded once: in bfloat16
    the merged model is then as near to the exact sum as the adapter beside its base was.
    """
    if not isinstance(trainer.model, PeftModel):
        return
    tuned = trainer.model.get_base_model()
    base_model = AutoModelForCausalLM.from_pretrained(
        start,
        config=tuned.config,  # with the recipe's changes
        dtype=torch.float32,
    )
    base_model.generation_config = tuned.generation_config  # which ends where the chat ends
    merged = PeftModel.from_pretrained(base_model, folder).merge_and_unload()
    merged = merged.to(trainer.model.dtype)
    published.save(merged, folder)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).unlink()
