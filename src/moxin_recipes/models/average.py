"""The mean of several models' weights: annealing runs of other seeds (OLMo 2), kept as one."""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from moxin_recipes.recipe.strict import RecipeError


def mean_of(folders: list[Path], dtype: torch.dtype) -> PreTrainedModel:
    """The first model with the mean of all their weights in place of its own.

    Sums are in float64, one tensor at a time, so the mean of one model with itself is that model,
    and one whole model is in memory. Models of different shapes are a RecipeError.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folders[0], dtype=dtype)
    places = [_places(folder) for folder in folders]
    names = dict(model.named_parameters())
    for folder, place in zip(folders, places, strict=True):
        if set(place) != set(places[0]) or not set(names) <= set(place):
            raise RecipeError(f"`models`: {folder.name} has other weights than the first one")
    for name, parameter in names.items():
        total = torch.zeros(parameter.shape, dtype=torch.float64)
        for place in places:
            with safe_open(place[name], framework="pt") as file:
                weight = file.get_tensor(name)
            if weight.shape != parameter.shape:
                raise RecipeError(f"`models`: {name} is {tuple(weight.shape)} in {place[name]}")
            total += weight.double()
        parameter.data.copy_(total / len(places))
    return model


def _places(folder: Path) -> dict[str, Path]:
    """Weight name → the safetensors file that has it."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found
