"""The lines of `moxin check` about a stage that trains: its launch, and what each GPU holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moxin_recipes.ladder import order
from moxin_recipes.recipe import trainers
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.keys.dpo import DpoKeys
from moxin_recipes.recipe.keys.grpo import GrpoKeys
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.memory import BFLOAT16, FLOAT32, Shape, Step, held, most
from moxin_recipes.recipe.reading import Recipe

GB = 1e9
_LORA = ["q_proj", "v_proj"]  # what PEFT adapts of a Mistral where a recipe names no modules


def lines(recipes: order.Recipes, recipe: Recipe[Any], file: Path, args: Any) -> Iterator[str]:
    """What accelerate makes of a stage's launcher file, and the sum of what a GPU holds.

    `args` is the trainer's dataclass as it is launched. A stage that trains on a CPU has no lines.
    """
    launcher, content = Launcher.of_file(file), content_of(file)
    if launcher.on_cpu:
        return
    precision = launcher.dtypes(recipe.values, recipe.keys.bf16_by_default).get("precision", "")
    shape = shape_of(recipes, recipe)
    trained = _adapter(recipe, shape) if shape else None
    step = step_of(recipe, trained, launcher, content, args)
    yield f"launch: {_launch(launcher, step, precision or 'float32', _synced(args))}"
    if shape is None:
        yield "memory of a GPU: not counted, for the model's shape is not in this ladder"
        return
    if trained is None and recipe.values.get("use_peft"):
        yield "memory of a GPU: not counted, for `lora_target_modules` names more than its layers"
        return
    parts = held(shape, step)
    total, moment = most(parts)
    yield f"memory of a GPU: at most {total / GB:.1f} GB, in {moment}"
    for part in parts:
        yield f"  {part.moment}: {part.what}: {part.arithmetic} = {part.size / GB:.2f} GB"
    if getattr(args, "use_vllm", False) and args.vllm_mode == "colocate":
        asleep = ", which it leaves during the update" if args.vllm_enable_sleep_mode else ""
        yield f"  vLLM: {args.vllm_gpu_memory_utilization:g} of the GPU's memory{asleep}"


def shape_of(recipes: order.Recipes, recipe: Recipe[Any]) -> Shape | None:
    """The model that a stage trains, found by its inputs; None for one from outside the ladder."""
    texts = [r.keys for r in recipes if isinstance(r.keys, DataKeys) and r.keys.sources]
    texts = [keys for keys in texts if not keys.tokenizer_name_or_path]  # of a size of its own
    for _ in recipes:
        if isinstance(recipe.keys, InitKeys):
            known = texts and recipe.keys.method == "scratch"
            return Shape.of_init(recipe.keys, texts[-1].vocab_size) if known else None
        start = [r for r in recipe.references if r.key == "model_name_or_path"]
        names = order.makers(recipes, start[0]) if start else []
        if not names:
            return None
        recipe = next(maker for maker in recipes if maker.name == names[-1])
    return None


def step_of(
    recipe: Recipe[Any],
    trained: int | None,
    launcher: Launcher,
    content: dict[str, Any],
    args: Any,
) -> Step:
    """The training step of a stage as its recipe and its launcher's file have it.

    `trained` are the parameters of its adapter; None where all of the model's are trained.
    """
    keys, values = recipe.keys, recipe.values
    dpo, grpo = isinstance(keys, DpoKeys), isinstance(keys, GrpoKeys)
    if isinstance(keys, PretrainKeys):
        tokens = keys.context_length
    elif isinstance(keys, GrpoKeys):
        tokens = keys.max_prompt_length + args.max_completion_length
    else:
        tokens = args.max_length
    second = (dpo and not args.precompute_ref_log_probs) or (grpo and args.beta > 0)
    fsdp = content.get("fsdp_config") or {}
    selective = bool(getattr(keys, "selective_checkpointing", False))
    again = launcher.sharded and fsdp.get("fsdp_activation_checkpointing")
    micro_batch, accumulated = trainers.batches(recipe, launcher.processes)
    dtype = values.get("dtype", "float32")  # TRL's default
    return Step(
        shards=_shards(launcher, content),
        rows=micro_batch * (2 if dpo else 1),  # of a pair
        tokens=tokens,
        sharded=launcher.sharded,
        mixed=bool(launcher.dtypes(values, keys.bf16_by_default)),
        checkpointing=bool(selective or again or args.gradient_checkpointing),
        selective=selective,
        pieces=isinstance(keys, PretrainKeys | SftKeys),
        moments=2 if getattr(keys, "optimizer", "adamw") == "adamw" else 1,
        trained=trained,
        frozen=FLOAT32 if dtype == "float32" else BFLOAT16,
        buckets=launcher.processes > 1 and not launcher.sharded,
        whole=launcher.sharded and accumulated > 1 and not _synced(args),
        loads_reference=bool((dpo or second) and launcher.sharded and trained is None),
        reference=bool(second and trained is None),
    )


def _adapter(recipe: Recipe[Any], shape: Shape) -> int | None:
    """The parameters of a recipe's adapter; None where it has none, or one that is not counted."""
    return shape.adapter(*lora(recipe)) if recipe.values.get("use_peft") else None


def lora(recipe: Recipe[Any]) -> tuple[int, list[str]]:
    """(rank, modules) of a recipe's adapter; 16 is TRL's default."""
    return recipe.values.get("lora_r", 16), recipe.values.get("lora_target_modules") or _LORA


def _shards(launcher: Launcher, content: dict[str, Any]) -> int:
    """The processes that share a copy of the model."""
    if not launcher.sharded:
        return 1
    mesh = content.get("parallelism_config") or {}
    return int(mesh.get("parallelism_config_dp_shard_size") or launcher.processes)


def _synced(args: Any) -> bool:
    """Whether gradients are reduced after each micro-batch."""
    accumulation = args.accelerator_config.gradient_accumulation_kwargs or {}
    return bool(accumulation.get("sync_each_batch"))


def _launch(launcher: Launcher, step: Step, precision: str, synced: bool) -> str:
    """How many processes, what is shared by how many, and in which dtypes."""
    machines = f"{launcher.machines} × " if launcher.machines > 1 else ""
    processes = f"{machines}{launcher.processes_per_machine} processes"
    if not launcher.sharded:
        return f"{processes}, a copy of the model each, computes in {precision}"
    copies = launcher.processes // step.shards
    again = "in part " if step.selective else "" if step.checkpointing else "not "
    words = [
        f"{processes}, FSDP2 over {step.shards}" + (f" in {copies} copies" if copies > 1 else ""),
        f"computes in {precision}",
        f"sums gradients in float32 {'after each micro-batch' if synced else 'once a step'}",
        f"layers are {again}computed again in the backward pass",
    ]
    return ", ".join(words)
