"""The libraries' part of a recipe: their keys checked, and their dataclasses filled."""

import dataclasses
import pkgutil
import typing
from functools import cache
from types import SimpleNamespace
from typing import Any

from moxin_recipes.recipe.bounds import Bounds
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError, conform, near

_REFUSED = {
    "gradient_accumulation_steps": "it follows from global_batch_size",
    "trust_remote_code": "no code of a repository is run here",
    "hub_token": "secrets do not belong in a recipe; set HF_TOKEN or run `hf auth login`",
    "hub_revision": "each stage pushes to main, to its tag, and to its step branches",
    "hub_strategy": "save_steps and push_checkpoints say what is pushed",
    "resume_from_checkpoint": "a stage goes on from its own last checkpoint by itself",
    "enable_jit_checkpoint": "a checkpoint at SIGTERM would pass for the end of training",
    "auto_find_batch_size": "global_batch_size says how many sequences a step has",
    "ignore_data_skip": "a stage goes on where it stopped",
    "save_only_model": "a checkpoint without its optimizer cannot be resumed",
    "packing": "chats are always packed, and never see each other",
    "assistant_only_loss": "only the assistant's words are learned, always",
    "model_revision": "write model_name_or_path: REPOSITORY@REVISION",
    "load_in_4bit": "weights are trained as they are; LoRA keys (use_peft) save memory",
    "load_in_8bit": "weights are trained as they are; LoRA keys (use_peft) save memory",
    **dict.fromkeys(
        ("deepspeed", "fsdp", "fsdp_config", "parallelism_config"),
        "FSDP shards a model, as the launcher's file under `accelerate_config` says",
    ),
    "env": "set environment variables where the stage is launched",
}
# Numbers that the libraries take as they come, and fail on after the start.
_BOUNDS = {
    **dict.fromkeys(("learning_rate", "weight_decay", "warmup_steps", "max_grad_norm"), Bounds(0)),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "lora_dropout"), Bounds(0, 1, below=True)),
    **dict.fromkeys(("min_p", "ld_alpha", "ref_model_mixup_alpha"), Bounds(0, 1)),
    **dict.fromkeys(("label_smoothing", "label_smoothing_factor"), Bounds(0, 1, below=True)),
    **dict.fromkeys(("top_p", "top_entropy_quantile"), Bounds(0, 1, above=True)),
    **dict.fromkeys(("vllm_gpu_memory_utilization",), Bounds(0, 1, above=True)),
    **dict.fromkeys(("num_train_epochs", "adam_epsilon", "epsilon_high"), Bounds(0, above=True)),
    **dict.fromkeys(("beta", "epsilon", "delta", "top_k", "entropy_coef"), Bounds(0)),
    **dict.fromkeys(("lora_alpha", "ref_model_sync_steps", "vllm_max_model_length"), Bounds(1)),
    **dict.fromkeys(("vllm_tensor_parallel_size", "eval_accumulation_steps"), Bounds(1)),
    **dict.fromkeys(("logging_steps", "save_steps", "eval_steps"), Bounds(0, above=True)),
    **dict.fromkeys(("max_length", "max_completion_length", "num_iterations", "lora_r"), Bounds(1)),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), Bounds(1)),
    **dict.fromkeys(("save_total_limit", "steps_per_generation", "dataset_num_proc"), Bounds(1)),
    **dict.fromkeys(("temperature", "repetition_penalty"), Bounds(0, above=True)),
    **dict.fromkeys(("dataloader_num_workers", "ddp_timeout", "neftune_noise_alpha"), Bounds(0)),
    "num_generations": Bounds(2),
    "generation_batch_size": Bounds(1),
}
# What `moxin check` sets aside: keys that need the hardware of the real run.
_HARDWARE = ("bf16", "fp16", "tf32", "use_cpu", "bf16_full_eval", "use_liger_kernel", "use_vllm")


@cache
def classes(libraries: tuple[str, ...]) -> tuple[type, ...]:
    """The libraries' dataclasses of a stage, by their import paths; imports them late."""
    return tuple(pkgutil.resolve_name(path) for path in libraries)


def check_names(recipe: Recipe[Any]) -> None:
    """Raises RecipeError for a key that neither we nor the libraries have, or of a wrong type."""
    own = [field.name for field in dataclasses.fields(recipe.keys)]
    hints: dict[str, Any] = {}
    for kind in classes(recipe.keys.libraries):
        hints |= typing.get_type_hints(kind)
    for key, value in recipe.library_values.items():
        if key in _REFUSED:
            raise RecipeError(f"`{key}` is not a key of a recipe: {_REFUSED[key]}")
        if key not in hints:
            raise RecipeError(f"unknown key `{key}`" + near(key, [*hints, *own]))
        conform(key, value, hints[key])
        if value is not None and key in _BOUNDS and not _BOUNDS[key].allow(value):
            raise RecipeError(f"`{key}` must be {_BOUNDS[key]}, not {value:g}")


def batches(recipe: Recipe[Any], processes: int) -> tuple[int, int]:
    """(micro-batch, accumulation steps) of each process; their product × processes is the batch.

    `per_device_train_batch_size` is what fits on a device: with more processes than the batch
    needs at that size, the micro-batch is smaller.
    """
    total = int(recipe.keys.global_batch_size)
    most = int(recipe.values.get("per_device_train_batch_size", 8))
    micro = min(most, total // processes)
    if micro < 1 or total % (micro * processes):
        raise RecipeError(
            f"`global_batch_size` {total} is not a multiple of "
            f"`per_device_train_batch_size` {most} × {processes} processes; change one of them"
        )
    return micro, total // (micro * processes)


def fill(recipe: Recipe[Any], launcher: Launcher, on_hardware: bool) -> tuple[Any, ...]:
    """The libraries' dataclasses of a stage, filled, in the order of `libraries`.

    With `on_hardware=False` the keys that need a GPU are set aside.
    """
    kinds = classes(recipe.keys.libraries)
    if not kinds:
        return ()
    from trl import TrlParser

    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    values = {key: value for key, value in recipe.library_values.items() if key in names}
    micro, steps = batches(recipe, launcher.processes)
    if not on_hardware:  # this process stands for all of the launch: TRL multiplies by their number
        micro *= launcher.processes
    values |= {"per_device_train_batch_size": micro, "gradient_accumulation_steps": steps}
    values |= {"output_dir": str(recipe.output_dir), "seed": recipe.keys.seed}
    values.setdefault("report_to", "trackio")  # curves that stay on this machine
    values.setdefault("ddp_find_unused_parameters", False)  # every parameter takes part
    if launcher.sharded:
        values["accelerator_config"] = sharded(values.get("accelerator_config"))
    if not on_hardware:
        values = {k: v for k, v in values.items() if k not in _HARDWARE} | {"use_cpu": True}
    elif trains_on_cpu(launcher):
        # Without the key the Trainer does not see the other processes of a CPU launch.
        values |= {"use_cpu": True, "dataloader_pin_memory": False}
    return tuple(TrlParser(list(kinds)).parse_dict(values))


def sharded(given: Any) -> dict[str, Any]:
    """accelerate's settings, with gradients reduced to a rank's share after each micro-batch.

    Its default keeps them whole on every rank while they accumulate, in float32: 4 bytes a
    parameter, 32.5 GB for 8.1B parameters, where a share of 64 takes 0.5 GB.
    """
    if isinstance(given, str):
        raise RecipeError("`accelerator_config` is a file; write its settings into the recipe")
    config = given or {}
    accumulation = {"sync_each_batch": True, **(config.get("gradient_accumulation_kwargs") or {})}
    return {**config, "gradient_accumulation_kwargs": accumulation}


def as_launched(recipe: Recipe[Any], args: Any) -> SimpleNamespace:
    """The fields of a filled dataclass, with the recipe's values of keys that were set aside."""
    given = {key: value for key, value in recipe.library_values.items() if key in _HARDWARE}
    return SimpleNamespace(**vars(args) | given)


def trains_on_cpu(launcher: Launcher) -> bool:
    """Whether the Trainer has to be told that it runs on a CPU."""
    import torch

    return launcher.on_cpu or not torch.accelerator.is_available()
