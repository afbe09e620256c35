"""The machines of Hugging Face Jobs: what one has and costs, and how a stage is launched there."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import JobAccelerator, JobHardwareInfo

from moxin_recipes import environment
from moxin_recipes.hub import session
from moxin_recipes.ladder import launching
from moxin_recipes.plan.gpus import GPUS, Gpu
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError, near

_PER_HOUR = {"second": 3600, "minute": 60, "hour": 1}
# What a file for several machines says of them; sharding within each of them is what is left.
_OF_MACHINES = ("machine_rank", "main_process_ip", "main_process_port", "rdzv_backend")
_BETWEEN = ("parallelism_config", *_OF_MACHINES)


@dataclass(frozen=True)
class Flavor:
    """One machine. `gpu` is None for a CPU, and for a GPU that plan/gpus.py does not have."""

    name: str
    gpus: int
    model: str
    gpu: Gpu | None
    price: float | None  # dollars an hour, where the Hub says it

    def file_of(self, recipe: Recipe[Any], given: Path | None) -> Path:
        """The launcher's file of a stage on this machine; one that trains uses all of its GPUs.

        A file for several processes starts one on each GPU, a file for one process or for a CPU
        one process on a GPU. Precision and sharding stay: they are part of what decides a result.
        """
        file = launching.file_of(recipe, given)
        if not (recipe.trains and self.gpus):
            return file
        content = content_of(file)
        launcher = launching.launcher_of(recipe, file)
        processes = self.gpus if launcher.processes > 1 else 1
        if launcher.machines > 1:
            content = {key: value for key, value in content.items() if key not in _BETWEEN}
        if processes == 1 and not launcher.sharded:
            content["distributed_type"] = "NO"
        content |= {"num_machines": 1, "num_processes": processes, "use_cpu": False}
        made = environment.home() / "jobs" / self.name / recipe.ladder / recipe.name / file.name
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps(content, indent=1))  # which is YAML, too
        return made

    def missing(self, file: Path, launcher: Launcher) -> str | None:
        """Why a launch cannot work on this machine, in words; None if it can."""
        if launcher.on_cpu or (launcher.processes == 1 and not launcher.sharded):
            return None
        wanted = launcher.processes if launcher.processes > 1 else "several"
        if launcher.machines == 1 and 1 < launcher.processes <= self.gpus:
            return None
        return (
            f"{file.name} is for {wanted} GPUs, and hf-jobs:{self.name} has {self.gpus}; take a "
            "flavor with more (`hf jobs hardware`), or give --accelerate-config another file"
        )


def find(name: str) -> Flavor:
    """The machine of that name; RecipeError with all names for one that is not there."""
    with session.errors("`--on`: the machines of Hugging Face Jobs"):
        listed = session.api().list_jobs_hardware()
    there = {one.name: one for one in listed if not one.accelerator or _is_gpu(one.accelerator)}
    if name not in there:
        raise RecipeError(
            f"`--on`: there is no hf-jobs:{name}{near(name, there)} (there are {', '.join(there)})"
        )
    return _flavor(there[name])


def _is_gpu(accelerator: JobAccelerator) -> bool:
    return accelerator.type == "gpu"


def _flavor(found: JobHardwareInfo) -> Flavor:
    units = _PER_HOUR.get(found.unit_label)
    price = None if units is None else found.unit_cost_usd * units
    if not found.accelerator:
        return Flavor(found.name, 0, "", None, price)
    gpus, model = int(found.accelerator.quantity), found.accelerator.model
    memory = re.match(r"(\d+) GB", found.accelerator.vram)  # of all of them together
    known = None
    for gpu in GPUS.values():
        if memory and gpu.device == model and gpu.memory * gpus == int(memory[1]) * 10**9:
            known = gpu
    return Flavor(found.name, gpus, model, known, price)
