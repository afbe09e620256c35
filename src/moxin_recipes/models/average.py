"""Averages the weights of several models, such as annealing runs of other seeds (OLMo 2)."""

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from moxin_recipes.recipe.strict import RecipeError


def mean_of(folders: list[Path], dtype: torch.dtype) -> PreTrainedModel:
    """Returns the first model with the mean of all models' weights.

    Sums are in float64, one tensor at a time. So the mean of a model with itself is that model, and
    memory holds only one whole model. Raises RecipeError if the models differ in shape.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folders[0], dtype=dtype)
    files_by_model = [_files_of_weights(folder) for folder in folders]
    names = dict(model.named_parameters())
    for folder, file_of_weight in zip(folders, files_by_model, strict=True):
        if set(file_of_weight) != set(files_by_model[0]) or not set(names) <= set(file_of_weight):
            raise RecipeError(f"`models`: {folder.name} has other weights than the first one")
    for name, parameter in names.items():
        total = torch.zeros(parameter.shape, dtype=torch.float64)
        for file_of_weight in files_by_model:
            with safe_open(file_of_weight[name], framework="pt") as file:
                weight = file.get_tensor(name)
            if weight.shape != parameter.shape:
                shape, path = tuple(weight.shape), file_of_weight[name]
                raise RecipeError(f"`models`: {name} is {shape} in {path}")
            total += weight.double()
        parameter.data.copy_(total / len(files_by_model))
    return model


def _files_of_weights(folder: Path) -> dict[str, Path]:
    """Returns the safetensors file of each weight, by the weight's name."""
    file_of_weight: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            file_of_weight |= dict.fromkeys(file.keys(), path)
    return file_of_weight
