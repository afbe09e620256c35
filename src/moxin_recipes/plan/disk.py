"""Bytes that a stage leaves on its machines, and on the Hub."""

from typing import Any

from moxin_recipes.plan.work import Work
from moxin_recipes.recipe.base import TrainingKeys
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.memory import BFLOAT16, FLOAT32, Shape
from moxin_recipes.recipe.reading import Recipe


def of_model(recipe: Recipe[Any], shape: Shape) -> float:
    """Bytes of the weights that a stage pushes, in its `dtype`."""
    half = recipe.values.get("dtype", "float32") in ("bfloat16", "float16")
    return (BFLOAT16 if half else FLOAT32) * shape.parameters


def of_stage(
    recipe: Recipe[Any],
    shape: Shape,
    work: Work,
    args: Any,
    trained: int | None,
    machines: int,
) -> tuple[float, float]:
    """(bytes of checkpoints, result and cached tokens on all machines, bytes on the Hub).

    A checkpoint has weights and the optimizer's two moments in float32, of what is trained.
    """
    weights = of_model(recipe, shape)
    keys: TrainingKeys = recipe.keys
    moments = 2 * FLOAT32 * (shape.parameters if trained is None else trained)
    checkpoint = moments * 3 / 2
    steps = work.steps or 0
    made = int(steps // args.save_steps) if args.save_steps >= 1 else 0
    there = min(made, args.save_total_limit or made)
    branches = min(made, keys.keep_checkpoints or made) if keys.push_checkpoints else 0
    branch = weights if trained is None else FLOAT32 * trained
    if keys.push_training_state:  # the weights of a state are stored with its branch of weights
        branch += moments
    cache = 0.0
    if isinstance(keys, PretrainKeys):  # two bytes a token, and each node reads its own
        cache = min(machines * keys.token_cache_gb * 1e9, 2 * (work.tokens or 0.0))
    return there * checkpoint + weights + cache, branches * branch + weights
