"""Whether the disk holds what training will write, asked before its first step."""

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.training.job import Job


def bytes_to_write(
    checkpoint: int, final: int, args: TrainingArguments, state: TrainerState, there: int
) -> int:
    """The most that checkpoints and the final model take beside what is there, in bytes.

    `checkpoint` and `final` are the bytes of one; `there` checkpoints are on the disk already.
    """
    saves = 0
    if args.save_strategy == "steps":
        saves = math.ceil(state.max_steps / state.save_steps)
    elif args.save_strategy == "epoch":
        saves = math.ceil(state.num_train_epochs)
    kept = min(saves, args.save_total_limit or saves)
    # A new one is written before the oldest goes; the final model lies beside those that stay.
    most = kept * checkpoint + max(final, checkpoint if saves > kept else 0)
    return max(final, most - there * checkpoint)


class Disk(TrainerCallback):
    """Raises RecipeError at the start of training if its output cannot fit on the disk."""

    def __init__(self, run: Job) -> None:
        self._run = run

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 (the signature of a callback)
        **more: Any,
    ) -> None:
        """Runs when the number of steps is known."""
        if not self._run.is_main:
            return
        parameters = list(more["model"].parameters())
        final = sum(p.numel() * p.element_size() for p in parameters)  # an adapter is merged
        trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
        # AdamW keeps two numbers a weight; other optimizers are counted with none, so this is the
        # least that the disk must have.
        moments = 2 if type(more["optimizer"].optimizer) is torch.optim.AdamW else 0
        there = len(list(self._run.state.glob("checkpoint-*")))
        needed = bytes_to_write((1 + moments) * trained, final, args, state, there)
        refuse(self._run.folder, needed)


def refuse(folder: Path, needed: int) -> None:
    """Raises RecipeError if fewer than `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RecipeError(
            f"`output_dir`: the disk of {folder} has {free / 1e6:,.2f} MB free, and checkpoints "
            f"with the final model need {needed / 1e6:,.2f} MB; free some space, lower "
            "`save_total_limit`, or name another disk"
        )
