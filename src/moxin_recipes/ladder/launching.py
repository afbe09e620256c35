"""The launcher's file of a stage, and whether this machine has what it asks for."""

from pathlib import Path
from typing import Any

from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError


def file_of(recipe: Recipe[Any], given: Path | None = None) -> Path:
    """The accelerate config of a stage: the recipe's, or for training stages the one given.

    RecipeError if it is not there.
    """
    name = Path(given if given and recipe.trains else recipe.keys.accelerate_config)
    for base in (Path.cwd(), recipe.path.resolve().parent.parent.parent):
        if (base / name).is_file():
            return base / name
    raise RecipeError(f"{recipe.path}: `accelerate_config`: there is no file {name}")


def launcher_of(recipe: Recipe[Any], file: Path) -> Launcher:
    """What a stage's launcher file says; stages that cannot share their work are one process."""
    try:
        several = recipe.trains or recipe.keys.parallel
        return Launcher.of_file(file) if several else Launcher()
    except RecipeError as error:
        raise RecipeError(f"{recipe.path}: {error}") from None


def missing_here(file: Path, launcher: Launcher) -> str | None:
    """What a launch would wait for in vain on this machine, with the ways out; None if nothing.

    A file for several machines is for `accelerate launch` on each of them, which a cluster's job
    starts; without the address of the first one the launcher waits at the rendezvous.
    """
    if launcher.on_cpu or launcher.processes == 1:
        return None
    here, wanted = gpus(), launcher.processes_per_machine
    machines = f"{launcher.machines} machines" if launcher.machines > 1 else "1 machine"
    alone = launcher.machines > 1 and not content_of(file).get("main_process_ip")
    if not alone and here >= wanted:
        return None
    return (
        f"{file.name} starts {launcher.processes} processes on {machines} of {wanted} GPUs, and "
        f"this is 1 machine with {here} GPUs; give --accelerate-config a file for what is here "
        "(accelerate_configs/cpu.yaml, ddp.yaml, fsdp.yaml), or start slurm/launch.slurm on all "
        "machines"
    )


def gpus() -> int:
    """The number of accelerators that torch sees; imports torch late."""
    import torch

    return torch.accelerator.device_count()
