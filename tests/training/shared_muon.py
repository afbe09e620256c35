"""Weights that Muon trains on the processes of a launch; see test_shared_muon.

A program, `shared_muon OUT [CHECKPOINT_STEP]`: six steps of four rows, a checkpoint after three.
Rank 0 writes OUT/weights.safetensors.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.tiny import tiny_mistral
from tests.training.small import VOCABULARY, Rows, muon_keys, trainer
from torch.distributed.tensor import DTensor

from moxin_recipes.recipe.trainers import sharded

KEYS = muon_keys(global_batch_size=4, context_length=32)
# Three matrices of a kind, with 21 rows or columns: two processes share neither evenly.
SHAPE = {"vocab_size": VOCABULARY, "intermediate_size": 21, "num_hidden_layers": 3}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All rows of a weight, on every rank."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def main() -> None:
    """Trains, or goes on from a checkpoint; writes all weights."""
    out, start = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    is_sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    pretrainer = trainer(
        out,
        Rows(24),
        tiny_mistral(**SHAPE),
        KEYS,
        per_device_train_batch_size=4 // ranks,
        learning_rate=0.02,
        weight_decay=0.1,
        warmup_steps=2,
        save_strategy="steps",
        save_steps=3,
        ddp_find_unused_parameters=False,
        accelerator_config=sharded(None) if is_sharded else None,
        use_cpu=not is_sharded,
    )
    pretrainer.start_step = start
    pretrainer.train(resume_from_checkpoint=str(out / f"checkpoint-{start}") if start else None)
    weights = {
        name.replace("_checkpoint_wrapped_module.", ""): whole(parameter).contiguous()
        for name, parameter in pretrainer.model.named_parameters()
    }
    if pretrainer.is_world_process_zero():
        save_file(weights, out / "weights.safetensors")


if __name__ == "__main__":
    main()
