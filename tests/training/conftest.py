"""A tiny model with a tokenizer, saved to a folder, as the stages get it from the Hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_mistral, tiny_tokenizer
from tests.training.pretraining import pretraining
from transformers import MistralForCausalLM, PreTrainedTokenizerBase

__all__ = ["pretraining"]


@dataclass(frozen=True)
class Tiny:
    """Folder of a two-layer Mistral with a short window, and its tokenizer."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase

    def model(self) -> MistralForCausalLM:
        """The saved weights in float32."""
        return MistralForCausalLM.from_pretrained(self.folder, dtype=torch.float32)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    tiny_mistral(
        tokenizer,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=12,
        initializer_range=0.2,  # far from uniform, so that every token counts
    ).save_pretrained(folder)
    return Tiny(folder, tokenizer)


def quiet(folder: Path, **more: Any) -> dict[str, Any]:
    """Trainer arguments: no files, no tracker, and plain gradient descent with rate 1 unclipped.

    After one step `before - after` is the gradient itself.
    """
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "optim": "sgd",
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "max_steps": 1,
        **more,
    }


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def gradient(before: torch.nn.Module, after: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What one step of `quiet` took away."""
    start, end = weights(before), weights(after)
    return {name: start[name] - end[name] for name in start}
