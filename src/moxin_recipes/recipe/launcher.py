"""What the file of `accelerate launch` decides beside the recipe."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moxin_recipes.recipe.strict import RecipeError

_KINDS = ("NO", "MULTI_GPU", "FSDP")


@dataclass(frozen=True)
class Launcher:
    """Processes, machines and precision of one launch."""

    processes: int = 1
    machines: int = 1
    mixed_precision: str = "no"  # no, bf16, fp16 or fp8
    sharded: bool = False  # by FSDP
    on_cpu: bool = False

    @classmethod
    def of_file(cls, path: Path) -> "Launcher":
        """What a file of `accelerate launch` says; RecipeError if the recipes cannot use it."""
        content = content_of(path)
        kind = content.get("distributed_type", "NO")
        if kind not in _KINDS:
            raise RecipeError(
                f"`accelerate_config`: {path} has `distributed_type: {kind}`; the recipes run on "
                f"{', '.join(_KINDS)}"
            )
        return cls(
            int(content.get("num_processes", 1)),
            int(content.get("num_machines", 1)),
            str(content.get("mixed_precision") or "no"),
            kind == "FSDP",
            bool(content.get("use_cpu", False)),
        )

    @classmethod
    def of_environment(cls) -> "Launcher":
        """What `accelerate launch` told this process."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return cls(
            processes,
            max(1, processes // int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))),
            os.environ.get("ACCELERATE_MIXED_PRECISION", "no"),
            os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true",
            os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true",
        )

    def precision(self, values: dict[str, Any]) -> dict[str, str]:
        """The dtypes that this launch adds to a recipe's keys `bf16` and `fp16`.

        The Trainer takes the launcher's mixed precision where the recipe sets neither key. FSDP
        sums gradients over processes in that dtype too; without it they are summed in float32.
        What is float32 has no entry.
        """
        chosen = next((name for name in ("bf16", "fp16") if values.get(name)), None)
        dtypes = {}
        if chosen is None and self.mixed_precision != "no":
            dtypes["mixed_precision"] = self.mixed_precision
        effective = chosen or self.mixed_precision
        if self.sharded and effective != "no":
            dtypes["reduce_dtype"] = effective
        return dtypes


def content_of(path: Path) -> dict[str, Any]:
    """The plain content of a launcher's file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: no settings of `accelerate launch` there")
    return content
