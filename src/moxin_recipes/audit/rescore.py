"""One number of a card, made again from its items and from the model."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from moxin_recipes.audit.replay import Original
from moxin_recipes.hub.manifest import MANIFEST
from moxin_recipes.hub.pull import Parent, download
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import held_out


@dataclass(frozen=True)
class Again:
    """A score as it was pushed, from its items, and from the model now."""

    pushed: float
    from_items: float
    from_model: float

    @property
    def holds(self) -> bool:
        """Whether all three are the same number."""
        return self.pushed == self.from_items == self.from_model

    def __str__(self) -> str:
        return f"{self.pushed} pushed, {self.from_items} from its items, {self.from_model} now"


def again(written: str, name: str) -> Again:
    """Makes the held-out score `name` of REPOSITORY[@REVISION] again, on the pinned problems.

    Raises RecipeError for a score that is not one of these.
    """
    original = Original.of(written)
    told = original.told
    items = {key: each for key, each in (told.get("items") or {}).items() if each}
    metrics = told.get("metrics") or {}
    if name not in items or name not in metrics:
        there = ", ".join(sorted(set(items) & set(metrics))) or "none"
        raise RecipeError(
            f"--score: {written} has no score {name} with items of its own (it has: {there}); "
            "what a stage measures of its training is made again by a replay"
        )
    torch.set_num_threads(told["hardware"]["threads"] or 1)
    parents = {parent.key: parent for parent in original.parents}
    facts = held_out.held_out(download(original.pin), _Pinned(original, parents), _keys(told))
    from_items = round(float(np.mean(items[name])), 4)
    return Again(metrics[name], from_items, facts["metrics"][name])


@dataclass(frozen=True)
class _Pinned:
    """The folder of an input, by the key that names it."""

    original: Original
    parents: dict[str, Parent]

    def __call__(self, key: str, patterns: list[str] | None = None) -> Path:
        if key not in self.parents:
            raise RecipeError(f"`{key}`: its {MANIFEST} lists no such input")
        return self.original.download(self.parents[key], patterns)


def _keys(told: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(told["recipe"]), encoding="utf-8")
        return read(path).keys
