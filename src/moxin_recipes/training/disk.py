"""Whether the disk holds what training will write, asked before its first step."""

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState, TrainingArguments

from moxin_recipes.recipe.strict import RecipeError


def bytes_to_write(
    model: torch.nn.Module, optimizer: Any, args: TrainingArguments, state: TrainerState, there: int
) -> int:
    """The most that checkpoints and the final model take beside what is there, in bytes.

    `there` checkpoints are on the disk already. A checkpoint has the trained weights and AdamW's
    two numbers for each; other optimizers are counted with none, so the disk needs this at least.
    """
    parameters = list(model.parameters())
    final = sum(p.numel() * p.element_size() for p in parameters)  # an adapter is merged
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    checkpoint = trained * (3 if type(optimizer) is torch.optim.AdamW else 1)
    saves = 0
    if args.save_strategy == "steps":
        saves = math.ceil(state.max_steps / state.save_steps)
    elif args.save_strategy == "epoch":
        saves = math.ceil(state.num_train_epochs)
    kept = min(saves, args.save_total_limit or saves)
    # A new one is written before the oldest goes; the final model lies beside those that stay.
    most = kept * checkpoint + max(final, checkpoint if saves > kept else 0)
    return max(final, most - there * checkpoint)


def refuse(folder: Path, needed: int) -> None:
    """Raises RecipeError if fewer than `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RecipeError(
            f"`output_dir`: the disk of {folder} has {free / 1e6:,.2f} MB free, and checkpoints "
            f"with the final model need {needed / 1e6:,.2f} MB; free some space, lower "
            "`save_total_limit`, or name another disk"
        )
