"""`moxin plan`: tokens, FLOPs, hours, energy, disk and memory of stages, from their recipes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moxin_recipes.ladder import launching, memory, order
from moxin_recipes.plan import data, disk, hours, models, published, work
from moxin_recipes.plan import memory as held
from moxin_recipes.plan.gpus import GIB, Gpu
from moxin_recipes.plan.tracked import Adapter
from moxin_recipes.recipe import door, trainers
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.memory import Shape, Step
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError

_SMALL = 10**9  # parameters
_SUMS = ("tokens", "flops", "hours", "gpu_hours", "core_hours", "price", "energy_kwh", "disk_gb")


@dataclass(frozen=True)
class Machines:
    """What a plan is for; `mfu` and `price`, of a GPU-hour, are None where nobody gave them."""

    gpu: Gpu
    nodes: int
    gpus_per_node: int
    mfu: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for key in ("nodes", "gpus_per_node"):
            if getattr(self, key) < 1:
                raise RecipeError(f"`--{key.replace('_', '-')}` must be at least 1")
        if self.mfu is not None and not 0 < self.mfu <= 1:
            raise RecipeError(f"`--mfu` is a share of the peak: .4, not {self.mfu:g}")
        if self.price is not None and not self.price >= 0:
            raise RecipeError(f"`--price` must be at least 0, not {self.price:g}")


@dataclass
class Planned:
    """The line of a stage; None stands for what nobody can know from the recipes."""

    stage: str
    gpus: int = 0
    tokens: float | None = None
    flops: float | None = None
    mfu: float | None = None
    hours: float | None = None
    gpu_hours: float | None = None
    core_hours: float | None = None
    price: float | None = None
    energy_kwh: float | None = None
    disk_gb: float | None = None
    hub_gb: float | None = None
    peak_gib_per_gpu: float | None = None
    fits: bool | None = None
    memory: list[dict[str, Any]] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    wrong: str | None = None  # why it does not fit, and the keys to change


def plan(
    folder: Path,
    machines: Machines,
    at: Callable[[str], None] = lambda _: None,
    files: dict[str, Path] | None = None,
) -> list[Planned]:
    """The stages of a ladder, in order; `at` is told the name of each before it is looked at.

    With `files` they are the stages that it names, each under that launcher's file.
    RecipeError for recipes that cannot run, and for batches that so many GPUs cannot share.
    """
    recipes = order.read(folder)
    known = models.with_siblings(recipes)
    planned = []
    for recipe in recipes:
        if files is None or recipe.name in files:
            at(recipe.name)
            file = files[recipe.name] if files else launching.file_of(recipe)
            planned.append(_stage(recipes, known, recipe, machines, file))
    return planned


def total(planned: list[Planned]) -> dict[str, float | None]:
    """The sums of what is known of all stages; None where no stage has a number.

    Tokens are those that are trained on; 00-data's are the same ones, prepared.
    """
    sums: dict[str, float | None] = {}
    for name in _SUMS:
        counted = [one for one in planned if one.gpus or name != "tokens"]
        values = [getattr(one, name) for one in counted if getattr(one, name) is not None]
        sums[name] = sum(values) if values else None
    return sums


def as_json(planned: list[Planned]) -> dict[str, Any]:
    """What `moxin plan --json` prints."""
    return {"stages": [dataclasses.asdict(one) for one in planned], "total": total(planned)}


def _stage(
    recipes: order.Recipes,
    known: order.Recipes,
    recipe: Recipe[Any],
    machines: Machines,
    file: Path,
) -> Planned:
    planned = Planned(recipe.name)
    launcher = _launcher(launching.launcher_of(recipe, file), machines)
    filled = door.check(recipe, launcher, on_hardware=False)
    keys, shape = recipe.keys, models.shape_of(known, recipe)
    if isinstance(keys, DataKeys):
        made = data.of_stage(recipes, recipe, keys)
        planned.tokens, planned.core_hours = made.tokens, made.core_hours
        planned.hours = None if made.core_hours is None else made.core_hours / keys.workers
        planned.disk_gb = planned.hub_gb = None if made.disk is None else made.disk / 1e9
        planned.assumed += made.assumed
    elif recipe.trains:
        args = trainers.as_launched(recipe, filled[-1])
        _train(planned, known, recipe, shape, machines, launcher, file, args)
    elif isinstance(keys, InitKeys):
        if shape:
            sizes = 2 * (disk.of_model(recipe, shape),)
            planned.disk_gb, planned.hub_gb = (size / 1e9 for size in sizes)
        planned.assumed.append("minutes of one process, not counted")
    else:
        planned.assumed.append(_NOT_COUNTED.get(recipe.stage, "not counted"))
    return planned


_NOT_COUNTED = {
    "distill": "not counted: how many answers a teacher gives is not in the recipes",
    "evaluate": "not counted: how long the items and the answers are is not in the recipes",
    "release": "minutes of one process, not counted",
}


def _launcher(launcher: Launcher, machines: Machines) -> Launcher:
    """The launcher's file on these machines.

    What is for several machines takes all of them; what is for one, the GPUs of one; one process
    stays one. A file for a CPU stands for one for the same number of GPUs.
    """
    processes, nodes = 1, 1
    if launcher.machines > 1:
        processes, nodes = machines.nodes * machines.gpus_per_node, machines.nodes
    elif launcher.processes > 1:
        processes = machines.gpus_per_node
    return dataclasses.replace(launcher, processes=processes, machines=nodes, on_cpu=False)


def _train(
    planned: Planned,
    known: order.Recipes,
    recipe: Recipe[Any],
    shape: Shape | None,
    machines: Machines,
    launcher: Launcher,
    file: Path,
    args: Any,
) -> None:
    """Fills the line of a stage that trains."""
    gpu, gpus = machines.gpu, launcher.processes
    planned.gpus = gpus
    if Launcher.of_file(file).processes != gpus:
        planned.assumed.append(f"{file.name} starts another number of processes; here {gpus:,}")
    todo = work.of_stage(known, recipe, args)
    planned.tokens = todo.tokens
    planned.assumed += todo.assumed
    if shape is None:
        planned.assumed.append("the model's shape is not known: no FLOPs, no hours, no memory")
        return
    adapter, count = _adapter(recipe, shape)
    step = memory.step_of(recipe, count, launcher, content_of(file), args)
    if todo.tokens is not None:
        _compute(planned, todo, shape, machines, args, step)
    sizes = disk.of_stage(recipe, shape, todo, args, count, launcher.machines)
    planned.disk_gb, planned.hub_gb = (size / 1e9 for size in sizes)
    if adapter and count is None:
        planned.assumed.append("memory is not counted: `lora_target_modules` has more than layers")
        return
    colocated = getattr(args, "use_vllm", False) and args.vllm_mode == "colocate"
    vllm = args.vllm_gpu_memory_utilization * gpu.memory if colocated else 0.0
    sleeps = colocated and args.vllm_enable_sleep_mode
    try:
        taken = held.of_stage(shape, step, adapter, vllm, sleeps)
    except RecipeError as error:  # the step itself refuses: better here than on the GPUs
        planned.fits, planned.wrong = False, f"{recipe.path}: {error}"
        return
    planned.peak_gib_per_gpu = taken.peak / GIB
    planned.memory = [
        {"moment": one.moment, "what": one.what, "gib": one.size / GIB} for one in taken.lines
    ]
    planned.fits = taken.fits(gpu)
    if not planned.fits:
        planned.wrong = f"{recipe.path}: {held.too_much(taken, gpu, recipe.values, step)}"


def _compute(
    planned: Planned,
    todo: work.Work,
    shape: Shape,
    machines: Machines,
    args: Any,
    step: Step,
) -> None:
    """FLOPs, hours, energy and price."""
    gpu, gpus = machines.gpu, planned.gpus
    flops = hours.trained(shape, todo)
    run = published.Run(
        shape, todo.length, step.checkpointing, step.selective, bool(args.torch_compile)
    )
    planned.mfu, words = hours.share(gpu, gpus, machines.mfu, run, step.mixed)
    sampling = hours.of_generation(shape, todo, gpu, gpus, args)
    planned.flops = flops + hours.generated(shape, todo)
    planned.hours = flops / (gpus * gpu.peak(step.mixed) * planned.mfu) / 3600 + sampling
    planned.gpu_hours = planned.hours * gpus
    planned.energy_kwh = planned.gpu_hours * gpu.watts / 1000
    if machines.price is not None:
        planned.price = planned.gpu_hours * machines.price
    planned.assumed.append(words)
    if shape.parameters < _SMALL:
        planned.assumed.append(
            "that MFU is of 8B parameters: a model this small has less (`--mfu`)"
        )
    if sampling:
        planned.assumed.append(
            f"{sampling:,.1f} of the hours sample, at {gpu.bandwidth / 1e12:g} TB/s of the memory"
        )


def _adapter(recipe: Recipe[Any], shape: Shape) -> tuple[Adapter | None, int | None]:
    """LoRA's settings and its parameters; (None, None) without it."""
    if not recipe.values.get("use_peft"):
        return None, None
    rank, modules = memory.lora(recipe)
    return Adapter(rank, tuple(modules)), shape.adapter(rank, modules)
