"""Which result a recipe asks for, and what differs between two runs of it.

A run's values are all that its recipe, its inputs, the user's own files and the launcher's file
say. Each has a class (`fields.py`). The key is the digest of those of the class *result* alone: it
decides what is done, and which checkpoints a run goes on from.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moxin_recipes.recipe import old_keys, user_files
from moxin_recipes.recipe.fields import Class, class_of, defaults, is_made_here
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.library_keys import LIBRARY_KEYS
from moxin_recipes.recipe.reading import Recipe

Payloads = Sequence[tuple[str, str]]  # (recipe key, payload digest) of each input, in order
Values = dict[str, Any]
_PRECISION = ("bf16", "fp16")  # what comes of them stands under `launcher.precision`


@dataclass(frozen=True)
class Identity:
    """The values of one run with their classes; `old_key` is its key in the first form."""

    values: Values
    classes: dict[str, Class]  # of our own keys and the libraries'
    rounding_decides: bool
    old_key: str

    @property
    def key(self) -> str:
        """sha256 (hex) of the values of the class *result*."""
        result = {name: v for name, v in self.values.items() if self.class_of(name) == "result"}
        text = json.dumps(result, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def class_of(self, name: str) -> Class:
        """The class of a value in a run of this stage; an unknown name decides the result."""
        kind = self.classes.get(name, "result")
        return "result" if kind == "rounding" and self.rounding_decides else kind

    def differences(self, before: Values) -> dict[str, str]:
        """Name → `before → now` of each value that is not what it was."""
        absent = object()
        return {
            name: f"{_shown(before, name)} → {_shown(self.values, name)}"
            for name in sorted(before.keys() | self.values.keys())
            if before.get(name, absent) != self.values.get(name, absent)
        }


def identity(recipe: Recipe[Any], payloads: Payloads, launcher: Launcher) -> Identity:
    """The identity of a run of `recipe` on these inputs under this launcher."""
    files = user_files.digests(recipe.values)
    keys = recipe.keys
    values = {
        **_not_default(keys),
        **_canonical({k: v for k, v in recipe.library_values.items() if k not in _PRECISION}),
        **{f"file {name}": digest for name, digest in files.items()},
        **_inputs(payloads),
        "outputs": sorted(recipe.outputs),
    }
    if recipe.trains:  # other stages are one process, whatever starts it
        values |= _of_launch(recipe, launcher)
    return Identity(
        values,
        {
            **LIBRARY_KEYS,
            **dict.fromkeys(("launcher.processes", "launcher.sharded"), "rounding"),
            **{field.name: class_of(field) for field in dataclasses.fields(keys)},
            **dict.fromkeys(keys.deciding(recipe.values), "result"),
        },
        keys.rounding_decides(recipe.values),
        old_keys.key(recipe, payloads, files),
    )


def _of_launch(recipe: Recipe[Any], launcher: Launcher) -> Values:
    """What the launch makes of the recipe: dtypes, processes, the micro-batch of each."""
    dtypes = launcher.dtypes(recipe.values, recipe.keys.bf16_by_default)
    total = recipe.keys.global_batch_size // launcher.processes
    most = int(recipe.values.get("per_device_train_batch_size", 8))
    return {
        **{f"launcher.{name}": dtype for name, dtype in dtypes.items()},
        "launcher.processes": launcher.processes,
        "launcher.sharded": launcher.sharded,
        "per_device_train_batch_size": min(most, total),
    }


def _not_default(keys: Any) -> Values:
    """The plain values of a dataclass that differ from their defaults, inputs left out.

    So a key that a later version brings changes the identity of nothing that does not use it.
    """
    values, known = {}, defaults(keys)
    for field in dataclasses.fields(keys):
        value = getattr(keys, field.name)
        is_input = "input" in field.metadata and not is_made_here(field, value)
        if not is_input and (field.name not in known or value != known[field.name]):
            values[field.name] = _canonical(value)
    return values


def _inputs(payloads: Payloads) -> Values:
    """`input KEY` → the payload digests under that recipe key, in their order."""
    values: dict[str, list[str]] = {}
    for key, payload in payloads:
        values.setdefault(f"input {key}", []).append(payload)
    return values


def _canonical(value: Any) -> Any:
    """Plain data with 10.0 as 10, so that it does not matter how a number was written."""
    if dataclasses.is_dataclass(value):
        return _not_default(value)
    if isinstance(value, dict):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(values: Values, name: str) -> str:
    """A value in few characters; of a file its digest's."""
    of_file = name.startswith(("input ", "file "))
    if name not in values:
        return "none" if of_file else "default"
    if of_file:
        digests = values[name] if isinstance(values[name], list) else [values[name]]
        return ", ".join(digest.removeprefix("tree:")[:12] for digest in digests)
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
