"""Compares AdamW and Muon by held-out bits per byte, after the same time of one core.

    python -m bench optimizers [SECONDS [SEED [ARM[@RATE] ...]]]      90, 0, AdamW and Muon

The model is a Mistral of 1.05M parameters (width 128, 4 layers, untied head) with 1,024 pieces and
context 256. The text comes with Python: code, docstrings, language reference, READMEs of installed
packages. Whole modules are held out, both their code and their docstrings. Time is the processor
time of the training process. Learning rates follow it, so both arms finish their schedule.
docs/optimizers.md lists what was tried.
"""

import functools
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainingArguments,
)

from moxin_recipes.documents import local_text
from moxin_recipes.models.scratch import initialize_for_muon
from moxin_recipes.recipe.keys.pretrain import MixtureItem, PretrainKeys
from moxin_recipes.scores import held_out_text
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.write import train_tokenizer, write_tokens
from moxin_recipes.training import optimizers
from moxin_recipes.training.trainers import PretrainTrainer

CONTEXT, MOST_STEPS = 256, 100_000
SHARES = {
    "stdlib-code": 0.60,
    "stdlib-docstrings": 0.15,
    "pydoc-topics": 0.07,
    "package-readmes": 0.18,
}


@dataclass(frozen=True)
class Arm:
    """Settings as in a recipe; `warm_up` and `decay` are shares of the time, `floor` of the rate.

    Between warm-up and decay the learning rate is constant; the decay is linear.
    """

    optimizer: str
    learning_rate: float
    batch: int
    warm_up: float
    decay: float
    floor: float
    beta1: float
    weight_decay: float
    max_grad_norm: float


ARMS = {
    "AdamW": Arm("adamw", 1e-3, 4, 0.05, 0.95, 0.1, 0.9, 0.1, 1.0),
    "Muon": Arm("muon", 0.02, 8, 0.01, 0.5, 0.0, 0.8, 0.0, 1.0),
}


def is_held_out(document: dict[str, Any], source: str) -> bool:
    """Decides by the hash of the module, so that code and its docstrings stay together."""
    name = document.get("group", document["origin"])
    share = 3 if source.startswith("stdlib") else 10
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < share


def write_corpus(folder: Path) -> PreTrainedTokenizerFast:
    """Writes the tokens of every source below `folder`, and returns their tokenizer."""
    documents = {
        name: [{**row, "id": row["origin"]} for row in make()]
        for name, make in local_text.SOURCES.items()
    }

    def texts() -> Iterator[str]:
        for name, rows in documents.items():
            characters_left = 1_000_000
            for row in rows:
                if characters_left > 0 and not is_held_out(row, name):
                    characters_left -= len(row["text"])
                    yield row["text"]

    tokenizer = train_tokenizer(texts(), 1024)
    for name, rows in documents.items():
        training_rows = (row for row in rows if not is_held_out(row, name))
        write_tokens(folder / name, "train", training_rows, tokenizer, 10**8)
        held_out_rows = [row for row in rows if is_held_out(row, name)][:12]
        shortened = [{**row, "text": row["text"][:15_000]} for row in held_out_rows]
        write_tokens(folder / name, "heldout", shortened, tokenizer, 10**8)
    return tokenizer


class _Clock(TrainerCallback):
    """Ends training when the time is over, and returns the share that has passed."""

    def __init__(self, seconds: float) -> None:
        self._began, self._seconds = time.process_time(), seconds

    @property
    def passed(self) -> float:
        return (time.process_time() - self._began) / self._seconds

    def on_step_end(self, _: Any, __: Any, control: TrainerControl, **___: Any) -> None:
        control.should_training_stop = self.passed >= 1


def rate(clock: _Clock, arm: Arm, _: int) -> float:
    """Returns the current learning rate, as a share of its peak."""
    share = clock.passed
    if share < arm.warm_up:
        return share / arm.warm_up
    remaining = max(0.0, 1 - share) / arm.decay
    return max(arm.floor, min(1.0, remaining))


def network(tokenizer: PreTrainedTokenizerFast) -> MistralForCausalLM:
    ids = {f"{name}_token_id": _id(tokenizer, name) for name in ("bos", "eos", "pad")}
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            **ids,
        )
    )


def _id(tokenizer: PreTrainedTokenizerFast, name: str) -> int:
    return int(getattr(tokenizer, f"{name}_token_id"))


def settings(arm: Arm, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=arm.batch,
        max_steps=MOST_STEPS,
        learning_rate=arm.learning_rate,
        weight_decay=arm.weight_decay,
        max_grad_norm=arm.max_grad_norm,
        adam_beta1=arm.beta1,
        adam_beta2=0.95,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def train(
    arm: Arm, seconds: float, seed: int, tokens: Path, tokenizer: PreTrainedTokenizerFast
) -> str:
    """Trains one arm and returns its row of the table; `seed` is for weights and order."""
    torch.manual_seed(seed)
    net = network(tokenizer)
    if arm.optimizer == "muon":
        initialize_for_muon(net)
    keys = PretrainKeys(
        stage="pretrain",
        hub_model_id="",
        dataset_name="",
        model_name_or_path="",
        global_batch_size=arm.batch,
        context_length=CONTEXT,
        mixture=[MixtureItem(source=s, weight=w, epochs=MOST_STEPS) for s, w in SHARES.items()],
        optimizer=arm.optimizer,  # type: ignore[arg-type]
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        args = settings(arm, folder)
        shards, length = TokenFolder(tokens), MOST_STEPS * arm.batch
        framing = Framing.of(tokenizer, "tokenizer")
        data = Mixture(shards, Order.from_keys(keys, shards.shards), length, framing)
        trainer = PretrainTrainer(
            model=net,
            args=args,
            train_dataset=data,
            optimizer_cls_and_kwargs=optimizers.class_and_options(keys, args, net),
        )
        trainer.remove_callback(PrinterCallback)
        clock = _Clock(seconds)
        trainer.add_callback(clock)
        rates: Callable[[int], float] = functools.partial(rate, clock, arm)
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.create_optimizer(), rates)
        trainer.train()
        net.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        score = held_out_text.bits_per_byte(Path(folder), tokens, CONTEXT)["bits_per_byte"]
    steps = trainer.state.global_step
    return f"{steps:7} {steps * arm.batch * CONTEXT:10,} {score:15.3f}"


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 90.0
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder)
        tokenizer = write_corpus(tokens)
        print(f"{seconds:.0f} s of one core each, seed {seed}")
        print(f"  {'':12}   steps     tokens   bits per byte")
        for word in sys.argv[4:] or ARMS:
            name, _, peak = word.partition("@")
            arm = replace(ARMS[name], learning_rate=float(peak)) if peak else ARMS[name]
            print(f"  {word:12} {train(arm, seconds, seed, tokens, tokenizer)}", flush=True)
