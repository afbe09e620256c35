"""GRPO on two processes, of which one has no completion with an advantage."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.conftest import ROOT
from tests.cpu.test_grpo_parity import move
from tests.training.conftest import Tiny, weights
from tests.training.pretraining import Pretraining


def test_a_rank_without_signal_keeps_up(
    pretraining: Pretraining, tiny: Tiny, tmp_path: Path
) -> None:
    """Both run as many passes, of as many rows, and end with the same weights, which are new."""
    file = ROOT / "accelerate_configs" / "ddp.yaml"
    words = [str(tiny.folder), str(tmp_path)]
    pretraining.warm.run(file, "tests.training.grpo_of_two", words, tmp_path / "log")
    first, second = (load_file(tmp_path / rank) for rank in ("0", "1"))
    start = tiny.model()
    move(start)
    assert any(not torch.equal(first[name], old) for name, old in weights(start).items())
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
