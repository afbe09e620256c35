"""A checked recipe → the dataclasses of its stage, ours and those of transformers and TRL."""

import dataclasses
import os
import typing
from typing import Any

from moxin_recipes.recipe import arguments, data_arguments
from moxin_recipes.recipe.reading import STAGES, Recipe, check, trainer_dataclasses
from moxin_recipes.recipe.strict import RecipeError

# The typed nested values, and the items of typed lists.
_ITEMS: dict[str, type] = {
    "traces": arguments.Traces,
    "sources": data_arguments.Source,
    "decontaminate": data_arguments.EvaluationSet,
    "minhash": data_arguments.Minhash,
    "bloom": data_arguments.Bloom,
    "language": data_arguments.Model,
    "classifier": data_arguments.Model,
    "mixture": arguments.MixtureItem,
    "evaluations": arguments.Evaluation,
}
# What `check` sets aside: keys that need the hardware of the real run.
_HARDWARE = ("bf16", "fp16", "tf32", "use_cpu", "bf16_full_eval", "use_liger_kernel", "use_vllm")


def fill(of: Recipe, processes: int, on_hardware: bool = True) -> tuple[Any, ...]:
    """The stage's dataclasses, filled: (ours, *theirs).

    `processes` divides `global_batch_size` into micro-batches and accumulation steps. With
    `on_hardware=False` the keys that need a GPU are set aside, as `moxin check` does.
    """
    check(of)
    values = dict(of.values)
    kind = STAGES[of.stage]
    own_values = {k: v for k, v in values.items() if k in typing.get_type_hints(kind)}
    for name, item in _ITEMS.items():
        given = own_values.get(name)
        if given is not None:
            own_values[name] = (
                [item(**row) for row in given] if isinstance(given, list) else item(**given)
            )
    try:
        own = kind(**own_values)
    except RecipeError as error:
        raise RecipeError(f"{of.path}: {error}") from None
    theirs = trainer_dataclasses(of.stage)
    if not theirs:
        return (own,)
    from trl import TrlParser

    shared = {"output_dir": str(of.output_dir), "seed": own.seed}
    values = {k: v for k, v in values.items() if k not in own_values} | shared
    micro, steps = batches(of, processes)
    values |= {"per_device_train_batch_size": micro, "gradient_accumulation_steps": steps}
    values.setdefault("report_to", "trackio")  # curves that stay on this machine
    values.setdefault("ddp_find_unused_parameters", False)  # every parameter takes part
    if not on_hardware:
        values = {k: v for k, v in values.items() if k not in _HARDWARE} | {"use_cpu": True}
    elif _on_cpu():
        # Without the key the Trainer does not see the other processes of a CPU launch.
        values |= {"use_cpu": True, "dataloader_pin_memory": False}
    try:
        filled = TrlParser(list(theirs)).parse_dict(_belonging(values, theirs))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{of.path}: {' '.join(str(error).split())}") from error
    return (own, *filled)


def _on_cpu() -> bool:
    import torch

    told = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    return told or not torch.accelerator.is_available()


def _belonging(values: dict[str, Any], kinds: tuple[type, ...]) -> dict[str, Any]:
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    return {key: value for key, value in values.items() if key in names}


def batches(of: Recipe, processes: int) -> tuple[int, int]:
    """(micro-batch, accumulation steps) of each process; their product × processes is the batch.

    `per_device_train_batch_size` is what fits on a device: with more processes than the batch
    needs at that size, the micro-batch is smaller.
    """
    total = int(of.values["global_batch_size"])
    most = int(of.values.get("per_device_train_batch_size", 8))
    micro = min(most, total // processes)
    if not micro or total % (micro * processes):
        raise RecipeError(
            f"{of.path}: `global_batch_size` {total} is not a multiple of "
            f"`per_device_train_batch_size` {most} × {processes} processes; change one of them"
        )
    return micro, total // (micro * processes)
