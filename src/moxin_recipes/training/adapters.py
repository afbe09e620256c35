"""LoRA: adapters name their base on the Hub, and a stage's result is the merged model."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Trainer
from transformers.pytorch_utils import Conv1D
from trl import ModelConfig, get_peft_config

from moxin_recipes.hub.files import write_json
from moxin_recipes.hub.pull import Parent
from moxin_recipes.models import published
from moxin_recipes.recipe.strict import RecipeError

ALL = "all-linear"
_TARGETS = "lora_target_modules"
_WEIGHTS = "adapter_model.safetensors"
_WRAPPED = "_checkpoint_wrapped_module."  # in the names of modules that compute activations again
# What LoRA has adapters for, of the modules that language models have.
_ADAPTED = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv1d, Conv1D)


def configuration(model_config: ModelConfig, recipe: Mapping[str, Any]) -> PeftConfig | None:
    """The recipe's LoRA, None without `use_peft`.

    TRL makes a text of a list with one name, and PEFT reads a text as a pattern of whole paths.
    """
    config: PeftConfig | None = get_peft_config(model_config)
    named = _names(recipe.get(_TARGETS))
    if config is not None and isinstance(named, list):
        config.target_modules = ALL if {*named} == {ALL} else {*named}
    return config


def check_names(model_config: ModelConfig, recipe: Mapping[str, Any], folder: Path) -> None:
    """Raises RecipeError for a name that no module of the model in `folder` has.

    So it does for `lora_target_modules` that are none, or of which one is no matrix.
    """
    if not model_config.use_peft:
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    modules = {path: module for path, module in model.named_modules() if path}
    linear = {
        path.rpartition(".")[2]
        for path, module in modules.items()
        if isinstance(module, torch.nn.Linear)
    }
    way = f"its matrices are {', '.join(sorted(linear))}, or write {ALL}"
    targets = _names(recipe.get(_TARGETS))
    if isinstance(targets, list) and {*targets} != {ALL}:
        if not targets:
            raise RecipeError(f"`{_TARGETS}` names no module of the model; {way}")
        if ALL in targets:
            raise RecipeError(
                f"`{_TARGETS}`: {ALL} stands alone, for each matrix but the last; {way} alone"
            )
    for key in (_TARGETS, "lora_modules_to_save"):
        for name, found in _found(_names(recipe.get(key)), modules, key):
            if not found and (name != ALL or key != _TARGETS):
                raise RecipeError(f"`{key}`: the model has no module {name or '“”'}; {way}")
            other = next((one for one in found if not isinstance(one, _ADAPTED)), None)
            if key == _TARGETS and other is not None:
                kind = type(other).__name__
                raise RecipeError(f"`{key}`: {name} is a {kind}, and no matrix; {way}")


def _names(given: Any) -> Any:
    """A list of names; one name by itself is such a list, and any other text a pattern."""
    return [given] if isinstance(given, str) and re.fullmatch(r"[\w.-]*", given) else given


def _found(
    named: Any, modules: Mapping[str, torch.nn.Module], key: str
) -> Iterator[tuple[str, list[torch.nn.Module]]]:
    """Each name, or the pattern, with the modules that PEFT takes it for."""
    if isinstance(named, str):
        try:
            pattern = re.compile(named)
        except re.error as error:
            raise RecipeError(f"`{key}`: {named} is no pattern of paths ({error})") from error
        yield named, [module for path, module in modules.items() if pattern.fullmatch(path)]
        return
    for name in named or []:
        of_this = [path for path in modules if path == name or path.endswith(f".{name}")]
        yield name, [modules[path] for path in of_this]


def name_base(checkpoint: Path, base: Parent) -> None:
    """Writes the base's commit on the Hub into a saved adapter, which then loads on any machine.

    While it trains, an adapter names its base's folder: PEFT looks at the base at each save, and on
    the Hub it would do so on each rank, amid a collective.
    """
    path = checkpoint / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, config | {"base_model_name_or_path": base.repo, "revision": base.commit})


def gather(trainer: Trainer, folder: Path) -> None:
    """Writes the whole adapter of a sharded model to `folder`; on all processes, after its save.

    PEFT finds the adapter's weights by the names of modules. Where accelerate has wrapped layers to
    compute activations again, these are not the names of the weights, and PEFT saves none.
    """
    if not isinstance(trainer.model, PeftModel):
        return
    whole = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    plain = {name: name.replace(_WRAPPED, "") for name, _ in trainer.model.named_parameters()}
    named = {name: whole[of] for name, of in plain.items() if of in whole}
    found = get_peft_model_state_dict(trainer.model, state_dict=named)
    tensors = {name.replace(_WRAPPED, ""): tensor.contiguous() for name, tensor in found.items()}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


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
    adapted = PeftModel.from_pretrained(base_model, folder)
    wanted, saved = get_peft_model_state_dict(adapted), load_file(folder / _WEIGHTS)
    if absent := sorted(set(wanted) - set(saved)):
        raise RuntimeError(f"the saved adapter lacks {len(absent)} weights, the first {absent[0]}")
    merged = adapted.merge_and_unload()
    merged = merged.to(trainer.model.dtype)
    published.save(merged, folder)
    for name in (_WEIGHTS, "adapter_config.json"):
        (folder / name).unlink()
