"""Bytes that a stage leaves on its machines, and on the Hub."""

from typing import Any

from moxin_recipes.recipe.base import TrainingKeys
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.memory import BFLOAT16, FLOAT32, Shape
from moxin_recipes.recipe.reading import Recipe


def of_model(recipe: Recipe[Any], shape: Shape) -> float:
    """Bytes of the weights that a stage pushes, in its `dtype`."""
    half = recipe.values.get("dtype", "float32") in ("bfloat16", "float16")
    return (BFLOAT16 if half else FLOAT32) * shape.parameters


def of_stage(
    recipe: Recipe[Any], shape: Shape, steps: int | None, args: Any, trained: int | None
) -> tuple[float, float]:
    """(bytes of checkpoints and result on the machines, bytes on the Hub) of a stage with a model.

    A checkpoint has weights and the optimizer's two moments in float32, of what is trained.
    """
    weights = of_model(recipe, shape)
    keys = recipe.keys
    if isinstance(keys, InitKeys) or not isinstance(keys, TrainingKeys):
        return weights, weights
    checkpoint = 3 * FLOAT32 * (shape.parameters if trained is None else trained)
    made = int(steps // args.save_steps) if steps and args.save_steps >= 1 else 0
    there = min(made, args.save_total_limit or made)
    branches = min(made, keys.keep_checkpoints or made) if keys.push_checkpoints else 0
    branch = weights if trained is None else FLOAT32 * trained
    return there * checkpoint + weights, branches * branch + weights
