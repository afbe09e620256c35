"""What the file of `accelerate launch` decides beside the recipe."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moxin_recipes.recipe.bounds import Positive
from moxin_recipes.recipe.library_keys import LAUNCHER_KEYS
from moxin_recipes.recipe.strict import RecipeError, build, parse

# Sections of a launcher's file on sharding, and how their variables begin (accelerate).
_SHARDING = {"fsdp_config": "FSDP_", "parallelism_config": "PARALLELISM_CONFIG_"}
_RENAMED = {"FSDP_TRANSFORMER_CLS_TO_WRAP": "fsdp_transformer_layer_cls_to_wrap"}


@dataclass(frozen=True, kw_only=True)
class _File:
    """The fields of a launcher's file that are read here."""

    distributed_type: Literal["NO", "MULTI_GPU", "FSDP"] = "NO"
    num_processes: Positive = 1
    num_machines: Positive = 1
    mixed_precision: Literal["no", "bf16", "fp16", "fp8"] = "no"
    use_cpu: bool = False


@dataclass(frozen=True)
class Launcher:
    """Processes, machines and precision of one launch."""

    processes: int = 1
    machines: int = 1
    mixed_precision: str = "no"  # no, bf16, fp16 or fp8
    sharded: bool = False  # by FSDP
    on_cpu: bool = False

    @property
    def processes_per_machine(self) -> int:
        """The processes that one machine starts."""
        return self.processes // self.machines

    @classmethod
    def of_file(cls, path: Path) -> "Launcher":
        """What a file of `accelerate launch` says; RecipeError if the recipes cannot use it."""
        content = content_of(path)
        names = [field.name for field in dataclasses.fields(_File)]
        try:
            file = build(_File, {key: content[key] for key in names if key in content})
            for name, value in content.items():
                unread = name not in names and LAUNCHER_KEYS.get(name, "result") == "result"
                if unread and value not in (None, "", "no", {}):
                    raise RecipeError(f"`{name}`: the recipes know nothing of it; leave it out")
            if file.distributed_type == "FSDP":
                _check_fsdp(content.get("fsdp_config") or {})
            if file.distributed_type == "NO" and file.num_processes > 1:
                raise RecipeError(
                    f"`distributed_type: NO` starts one process, not {file.num_processes}; "
                    "take MULTI_GPU or FSDP"
                )
        except RecipeError as error:
            raise RecipeError(f"`accelerate_config`: {path}: {error}") from None
        sharded = file.distributed_type == "FSDP"
        return cls(
            file.num_processes, file.num_machines, file.mixed_precision, sharded, file.use_cpu
        )

    @classmethod
    def of_environment(cls) -> "Launcher":
        """What `accelerate launch` told this process; RecipeError if it shards in another way."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
        if sharded:
            names = ("fsdp_version", "fsdp_auto_wrap_policy")
            given = {name: os.environ.get(name.upper()) for name in names}
            _check_fsdp({name: value for name, value in given.items() if value is not None})
        return cls(
            processes,
            max(1, processes // int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))),
            os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
            sharded,
            os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true",
        )

    def content(self, on_cpu: bool) -> dict[str, Any]:
        """A file of `accelerate launch` for such a launch, without addresses.

        What it says of FSDP is what the launcher told this process. `on_cpu` is whether it trains
        there, which a launcher tells one process alone.
        """
        several = "FSDP" if self.sharded else "MULTI_GPU" if self.processes > 1 else "NO"
        return {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": several,
            "num_processes": self.processes,
            "num_machines": self.machines,
            "mixed_precision": self.mixed_precision,
            "use_cpu": on_cpu,
            **({name: _told(name) for name in _SHARDING if _told(name)} if self.sharded else {}),
        }

    def dtypes(self, values: dict[str, Any], bf16_by_default: bool) -> dict[str, str]:
        """What this launch computes in; without an entry that is float32.

        `values` are a recipe's keys. The Trainer takes the launcher's mixed precision where neither
        `fp16` nor `bf16` is on; `bf16_by_default` says what the stage's trainer makes of no `bf16`.
        Under autocast, float32 parameters make a residual stream of float32; FSDP casts them, and
        so the stream, to `param_dtype`. Gradients are summed in float32 by both
        (training/sharding.py).
        """
        bf16 = values.get("bf16")
        if bf16 is None:
            bf16 = bf16_by_default and not values.get("fp16")
        precision = "fp16" if values.get("fp16") else "bf16" if bf16 else self.mixed_precision
        if precision == "no":
            return {}
        return {"precision": precision} | ({"param_dtype": precision} if self.sharded else {})


def _told(section: str) -> dict[str, Any]:
    """The fields of a section of the launcher's file, as its variables have them."""
    prefix = _SHARDING[section]
    return {
        _RENAMED.get(name, name.lower()): _plain(value)
        for name, value in sorted(os.environ.items())
        if name.startswith(prefix)
    }


def _plain(value: str) -> bool | int | str:
    """A value of the environment as a file has it."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdecimal() else value


def _check_fsdp(config: dict[str, Any]) -> None:
    """Raises RecipeError for what accelerate would fill in, and the recipes cannot use."""
    version = config.get("fsdp_version", 1)  # accelerate's default
    if str(version) != "2":
        raise RecipeError(f"`fsdp_version` is {version} (1 where it is left out); write 2")
    if config.get("fsdp_auto_wrap_policy", "NO_WRAP") == "NO_WRAP":
        raise RecipeError(
            "`fsdp_auto_wrap_policy` is NO_WRAP (also where it is left out): each GPU would gather "
            "the whole model at once; write TRANSFORMER_BASED_WRAP"
        )


def content_of(path: Path) -> dict[str, Any]:
    """The plain content of a launcher's file."""
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"`accelerate_config`: {path}: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"`accelerate_config`: {path}: no settings of `accelerate launch`")
    return content
