"""Checks that saved weights are complete, and merges sharded weights into safetensors."""

import copy
from pathlib import Path

import torch
from safetensors import safe_open
from torch.distributed.checkpoint.state_dict_loader import load
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from moxin_recipes.models import published
from moxin_recipes.recipe.strict import RecipeError


class WeightsError(RuntimeError):
    """Saved weights do not match their config."""


def parameter_shapes(folder: Path) -> dict[str, torch.Size]:
    """Returns the shape of each parameter of the config in `folder`, by name; tied ones once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def check_parameters(folder: Path, wanted: int | None) -> int:
    """The number of parameters of the model in `folder`; RecipeError unless it is `wanted`."""
    count = sum(shape.numel() for shape in parameter_shapes(folder).values())
    if wanted not in (None, count):
        raise RecipeError(
            f"`parameters` says {wanted:,}, this shape has {count:,}; mend one of them"
        )
    return count


def check_whole(folder: Path) -> None:
    """Raises WeightsError unless the safetensors in `folder` hold every parameter of its config.

    An adapter has no config of its own, so it only needs to have some weights.
    """
    saved: dict[str, torch.Size] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                saved[name] = torch.Size(file.get_slice(name).get_shape())
    adapter = (folder / "adapter_config.json").exists()
    expected = {} if adapter else parameter_shapes(folder)
    missing = sorted(name for name, shape in expected.items() if saved.get(name) != shape)
    if missing or not saved:
        raise WeightsError(
            f"{folder}: {len(missing)} of {len(expected)} parameters are not in its safetensors "
            f"({', '.join(missing[:3]) or 'it has no weights at all'}); it is not pushed"
        )


def is_sharded(checkpoint: Path) -> bool:
    """Returns whether FSDP wrote each rank's shard of the weights (SHARDED_STATE_DICT)."""
    return (checkpoint / _SHARDS).is_dir()


_SHARDS = "pytorch_model_fsdp_0"


def merge(checkpoint: Path, trained: PreTrainedModel, folder: Path) -> None:
    """Writes the weights of a sharded checkpoint to `folder`, with the configs of `trained`.

    This needs the weights once in this process's memory (32 GB for 8.1B parameters in float32) and
    once on disk. It uses no collective, so all ranks continue to train meanwhile.
    """
    with torch.device("meta"):  # a copy, since transformers writes the dtype into the config
        config = copy.deepcopy(trained.config)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config = trained.generation_config
    model = model.to_empty(device="cpu")
    model.tie_weights()
    # This raises unless every tensor of the model is in the shards.
    load({"model": model.state_dict()}, checkpoint_id=checkpoint / _SHARDS, no_dist=True)
    published.save(model, folder)
