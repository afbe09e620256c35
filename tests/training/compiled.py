"""Losses of pretraining under `torch_compile` or without it, on the processes of a launch.

A program, `compiled OUT yes|no`: three steps of four rows. Rank 0 writes OUT/losses.json.
"""

import json
import sys
from pathlib import Path

from tests.training.small import Rows, logged, model, trainer

from moxin_recipes.recipe.trainers import sharded


def main() -> None:
    """Trains, and writes the losses and the gradients' norms."""
    out, compiles = Path(sys.argv[1]), sys.argv[2] == "yes"
    pretrainer = trainer(
        out,
        Rows(12),
        model(),
        selective_checkpointing=True,
        torch_compile=compiles,
        accelerator_config=sharded(None),
        use_cpu=False,
    )
    pretrainer.train()
    numbers = {key: logged(pretrainer, key) for key in ("loss", "grad_norm")}
    if pretrainer.is_world_process_zero():
        (out / "losses.json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    main()
