"""Whether saved weights are all there, and how sharded ones become safetensors."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch.distributed.checkpoint.state_dict_loader import load
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig


class WeightsError(RuntimeError):
    """Saved weights that are not those of their config."""


def parameter_shapes(folder: Path) -> dict[str, torch.Size]:
    """Name → shape of each parameter that the config in `folder` asks for, tied ones once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def check_whole(folder: Path) -> None:
    """Raises WeightsError unless the safetensors in `folder` hold every parameter of its config.

    An adapter, which has no config of its own, only has to hold something.
    """
    there: dict[str, torch.Size] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                there[name] = torch.Size(file.get_slice(name).get_shape())
    adapter = (folder / "adapter_config.json").exists()
    wanted = {} if adapter else parameter_shapes(folder)
    wrong = sorted(name for name, shape in wanted.items() if there.get(name) != shape)
    if wrong or not there:
        raise WeightsError(
            f"{folder}: {len(wrong)} of {len(wanted)} parameters are not in its safetensors "
            f"({', '.join(wrong[:3]) or 'it has no weights at all'}); it is not pushed"
        )


def is_sharded(checkpoint: Path) -> bool:
    """Whether FSDP wrote each rank's part of the weights by itself (SHARDED_STATE_DICT)."""
    return (checkpoint / _SHARDS).is_dir()


_SHARDS = "pytorch_model_fsdp_0"


def merge(checkpoint: Path, config: PretrainedConfig, folder: Path) -> None:
    """Writes the weights of a sharded checkpoint to `folder` as `save_pretrained` would.

    Takes the weights once in this process's memory (8.1B parameters in float32: 32 GB) and once on
    disk, and no collective: all ranks train on meanwhile.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    # Every tensor of the model has to be in the shards, or this raises.
    load({"model": model.state_dict()}, checkpoint_id=checkpoint / _SHARDS, no_dist=True)
    model.save_pretrained(folder)
