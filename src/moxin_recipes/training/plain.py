"""Torch's files of a checkpoint without pickle: their tensors as safetensors, the rest as JSON.

NAME.json has what a torch file holds, in JSON's own words where it has them:

| what | in JSON |
|---|---|
| tensor, array of numpy | `{"$tensor": N}`, `{"$array": N}`: tensor N of NAME.safetensors |
| tuple | `{"$tuple": […]}` |
| dict with other keys than texts | `{"$items": [[key, value], …]}` |
| infinity, no number | `{"$float": "inf"}`, `{"$float": "nan"}` |

Nothing is rounded: a float is written with the digits that give it back.
"""

import json
import math
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers.trainer_pt_utils import safe_globals

from moxin_recipes.recipe.strict import RecipeError

# What training goes on from; arguments of the trainer are made anew from the recipe.
_TORCH_FILE = re.compile(r"(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth")
Tensors = dict[str, torch.Tensor]


def torch_files(checkpoint: Path) -> list[Path]:
    """Torch's files of a checkpoint that training goes on from, but for the random states."""
    return [path for path in _found(checkpoint) if not _is_random(path.name)]


def random_states(checkpoint: Path) -> list[Path]:
    """The random states of a checkpoint, one a process."""
    return [path for path in _found(checkpoint) if _is_random(path.name)]


def _found(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.iterdir() if _TORCH_FILE.fullmatch(path.name))


def _is_random(name: str) -> bool:
    return name.startswith("rng_state")


def write(source: Path, folder: Path) -> list[Path]:
    """Writes a torch file into `folder` as NAME.json and, if it has tensors, NAME.safetensors.

    Returns what was written. RecipeError for an object that is neither a tensor nor plain data.
    A random state is read on the main thread only: what torch may load of numpy is allowed for all
    of the process, by the Trainer too, and whoever is done first takes it back.
    """
    with safe_globals() if _is_random(source.name) else nullcontext():
        content = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    tensors = _Apart()
    try:
        plain = _plain(content, tensors)
    except TypeError as error:
        raise RecipeError(
            f"`push_training_state`: {source.name} holds {error}, and no pickle leaves the "
            "machine; leave the key out"
        ) from None
    described = folder / f"{source.stem}.json"
    described.write_text(json.dumps(plain, indent=1, allow_nan=False), encoding="utf-8")
    if not tensors.named:
        return [described]
    beside = described.with_suffix(".safetensors")
    save_file(tensors.named, beside)
    return [described, beside]


def restore(folder: Path) -> None:
    """Makes torch's files of what `write` wrote into `folder`, and removes that."""
    for described in sorted(folder.glob("*.json")):
        suffix = ".pth" if _is_random(described.stem) else ".pt"
        if not _TORCH_FILE.fullmatch(described.stem + suffix):
            continue
        beside = described.with_suffix(".safetensors")
        tensors = load_file(beside) if beside.exists() else {}
        content = _unplain(json.loads(described.read_text(encoding="utf-8")), tensors)
        torch.save(content, described.with_suffix(suffix))
        described.unlink()
        beside.unlink(missing_ok=True)


class _Apart:
    """The tensors of one file, numbered; what shares its memory is one."""

    def __init__(self) -> None:
        self.named: Tensors = {}
        self._known: dict[tuple[Any, ...], str] = {}

    def add(self, tensor: torch.Tensor) -> str:
        """The number of a tensor."""
        same = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if same not in self._known:
            self._known[same] = str(len(self.named))
            self.named[self._known[same]] = tensor.contiguous()
        return self._known[same]


def _plain(value: Any, apart: _Apart) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        return {"$tensor": apart.add(value)}
    if isinstance(value, np.ndarray):
        return {"$array": apart.add(torch.from_numpy(value))}
    if type(value) is list:
        return [_plain(item, apart) for item in value]
    if type(value) is tuple:
        return {"$tuple": [_plain(item, apart) for item in value]}
    if not isinstance(value, dict):
        raise TypeError(f"an object of the type {type(value).__name__}")
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _plain(item, apart) for key, item in value.items()}
    return {"$items": [[_plain(key, apart), _plain(item, apart)] for key, item in value.items()]}


def _unplain(value: Any, tensors: Tensors) -> Any:
    if isinstance(value, list):
        return [_unplain(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$tensor": name}:
            return tensors[name]
        case {"$array": name}:
            return tensors[name].numpy()
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(_unplain(item, tensors) for item in items)
        case {"$items": items}:
            return {_unplain(key, tensors): _unplain(item, tensors) for key, item in items}
        case _:
            return {key: _unplain(item, tensors) for key, item in value.items()}
