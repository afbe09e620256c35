"""A step of GRPO on the processes of a launch, of which one has nothing to learn from.

A program, `grpo_of_two TINY OUT`, TINY being the folder of a model; each rank writes OUT/RANK.
"""

import os
import sys
from pathlib import Path

from accelerate import PartialState
from safetensors.torch import save_file
from tests.cpu.test_grpo_parity import build, different_tokens
from tests.training.conftest import Tiny, weights
from transformers import AutoTokenizer

from moxin_recipes.cpu.grpo import CpuGRPOTrainer


def nothing(completion_ids: list[list[int]], **_: object) -> list[float]:
    """A reward without variance."""
    return [0.0 for _ in completion_ids]


def main() -> None:
    """Trains; only the completions of the first rank have an advantage."""
    tiny = Tiny(Path(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1]))
    out, rank = Path(sys.argv[2]), int(os.environ["RANK"])
    PartialState(cpu=True)
    reward = nothing if rank else different_tokens
    trainer = build(CpuGRPOTrainer, tiny, out / "run", reward, beta=0.0)
    assert trainer._plain()
    trainer.train()
    save_file(weights(trainer.accelerator.unwrap_model(trainer.model)), out / str(rank))


if __name__ == "__main__":
    main()
