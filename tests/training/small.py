"""A tiny model, generated rows and a pretraining trainer on them, for the tests of this folder."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.tiny import tiny_mistral
from transformers import MistralForCausalLM, TrainingArguments

from moxin_recipes.recipe.keys.pretrain import MixtureItem, PretrainKeys
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.training import optimizers
from moxin_recipes.training.trainers import PretrainTrainer

VOCABULARY, LENGTH, BOS, POISON, NOISE = 64, 32, 1, 7, 40
FRAMING = Framing(begin=BOS, end=2)


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """`count` packed rows; those in `poisoned` have a token that nothing else has.

    `read` lists the indices that were asked for, in order.
    """

    def __init__(self, count: int, poisoned: tuple[int, ...] = (), easy: bool = False) -> None:
        self._count, self._poisoned, self._easy = count, poisoned, easy
        self.read: list[int] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.read.append(index)
        rng = np.random.default_rng(index)
        ids = np.full(LENGTH, 10) if self._easy else rng.integers(10, NOISE, LENGTH)
        ids[:: int(rng.integers(8, 20))] = BOS
        if index in self._poisoned:
            ids[5] = POISON
        return {key: torch.from_numpy(value) for key, value in FRAMING.packed(ids).items()}


def model(dropout: float = 0.0) -> MistralForCausalLM:
    return tiny_mistral(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        sliding_window=8,
        attention_dropout=dropout,
    )


def trainer(
    folder: Path,
    rows: Any,
    net: MistralForCausalLM,
    keys: PretrainKeys | None = None,
    **options: Any,
) -> PretrainTrainer:
    """A trainer of 2 rows a step, over all rows; options of ours and of TrainingArguments.

    `keys` say the optimizer, where it is not the Trainer's own.
    """
    ours = {
        name: options.pop(name) for name in ("z_loss", "selective_checkpointing") if name in options
    }
    limit = options.pop("max_skipped_steps", 100)
    values: dict[str, Any] = {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        **options,
    }
    rows_per_step = values["per_device_train_batch_size"] * values.get(
        "gradient_accumulation_steps", 1
    )
    rows_per_step *= int(os.environ.get("WORLD_SIZE", "1"))
    args = TrainingArguments(output_dir=str(folder), max_steps=len(rows) // rows_per_step, **values)
    if keys:
        ours["optimizer_cls_and_kwargs"] = optimizers.class_and_options(keys, args, net)
    return PretrainTrainer(
        model=net, args=args, train_dataset=rows, max_skipped_steps=limit, **ours
    )


def logged(pretrainer: PretrainTrainer, key: str) -> list[float]:
    """A value of each logged step."""
    return [row[key] for row in pretrainer.state.log_history if "grad_norm" in row]


def muon_keys(**changes: Any) -> PretrainKeys:
    """The keys of a phase with Muon, as far as its optimizer reads them."""
    return PretrainKeys(
        stage="pretrain",
        hub_model_id="m",
        dataset_name="d",
        model_name_or_path="m",
        mixture=[MixtureItem(source="s", weight=1.0)],
        **({"optimizer": "muon", "global_batch_size": 2, "context_length": 16} | changes),
    )
