"""One file a stage: its keys with their types and units, inputs, outputs, rules, score and curve.

A stage is there as soon as its file is: NAME.py holds the dataclass `NameKeys`.
"""

import importlib
import pkgutil

from moxin_recipes.recipe.base import StageKeys


def stages() -> list[str]:
    """The names of all stages, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def keys_of(stage: str) -> type[StageKeys]:
    """The dataclass of a stage's keys."""
    module = importlib.import_module(f"{__name__}.{stage}")
    keys: type[StageKeys] = getattr(module, f"{stage.capitalize()}Keys")
    return keys
