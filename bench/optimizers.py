"""Compares AdamW and Muon by held-out bits per byte, after the same time of one core.

    python -m bench optimizers [SECONDS [SEEDS [ARM[@SETTING=VALUE,…] …]]]     90, 0,1,2, both arms

The model is a Mistral of 1.05M parameters (width 128, 4 layers, untied head) with 1,024 pieces and
context 256. The text comes with Python: code, docstrings, language reference, READMEs of installed
packages. Whole modules are held out, both their code and their docstrings, in two parts: arms whose
settings are changed here are scored on the text for choosing, arms as they stand on the text for
reporting. Time is the processor time of the training process. Learning rates follow it, so all arms
finish their schedule. Arms take turns, seed by seed. docs/optimizers.md lists what was tried.
"""

import functools
import hashlib
import statistics
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

from bench.machine import machine
from bench.turns import keep_memory
from moxin_recipes.documents import local_text
from moxin_recipes.models import bigrams
from moxin_recipes.models.scratch import initialize_for_muon
from moxin_recipes.recipe.keys.pretrain import MixtureItem, PretrainKeys
from moxin_recipes.scores import held_out_text
from moxin_recipes.tokens import pairs
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.write import train_tokenizer, write_tokens
from moxin_recipes.training import optimizers
from moxin_recipes.training.trainers import PretrainTrainer

CONTEXT, SHORT, MOST_STEPS = 256, 64, 100_000
SHARES = {
    "stdlib-code": 0.60,
    "stdlib-docstrings": 0.15,
    "pydoc-topics": 0.07,
    "package-readmes": 0.18,
}


@dataclass(frozen=True)
class Arm:
    """Settings as in a recipe; `warm_up`, `short` and `decay` are shares of the time.

    In the first `short` of it, sequences are cut into pieces of `SHORT` tokens. Between warm-up and
    decay the learning rate is constant; the decay is linear, to `floor` of the rate. Embeddings,
    head and norms have rates of their own, and AdamW always steps them. Any even number of `heads`
    is the same number of parameters. `bf16`: matrices are multiplied in bfloat16. `bigrams`: the
    time begins with a fit of embeddings and head to all pairs of neighbours in the training text.
    """

    optimizer: str
    learning_rate: float
    batch: int
    warm_up: float
    decay: float
    floor: float
    beta1: float
    weight_decay: float
    max_grad_norm: float = 1.0
    embeddings: float = 0.1
    head: float = 8e-3
    norms: float = 1e-2
    heads: int = 2
    short: float = 0.0
    bf16: bool = False
    bigrams: bool = True


ARMS = {
    "AdamW": Arm("adamw", 3e-3, 4, 0.03, 0.8, 0.0, 0.8, 0.1, short=0.6, bf16=True),
    "Muon": Arm("muon", 0.03, 8, 0.01, 0.5, 0.0, 0.8, 0.0, short=0.6, bf16=True),
}


def part(document: dict[str, Any], source: str) -> str:
    """Returns `report`, `choose` or `train`, by the hash of the module.

    So code and its docstrings stay together.
    """
    name = document.get("group", document["origin"])
    share = 3 if source.startswith("stdlib") else 10
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return ("report", "choose", "train")[min(number // share, 2)]


def write_corpus(folder: Path) -> PreTrainedTokenizerFast:
    """Writes the tokens of every source below `folder`/PART, and returns their tokenizer."""
    documents = {
        name: [{**row, "id": row["origin"]} for row in local_text.SOURCES[name]()]
        for name in SHARES
    }

    def texts() -> Iterator[str]:
        for name, rows in documents.items():
            characters_left = 1_000_000
            for row in rows:
                if characters_left > 0 and part(row, name) == "train":
                    characters_left -= len(row["text"])
                    yield row["text"]

    tokenizer = train_tokenizer(texts(), 1024)
    for name, rows in documents.items():
        training_rows = (row for row in rows if part(row, name) == "train")
        write_tokens(folder / "train" / name, "train", training_rows, tokenizer, 10**8)
        for held_out in ("choose", "report"):
            first = [row for row in rows if part(row, name) == held_out][:12]
            shortened = [{**row, "text": row["text"][:15_000]} for row in first]
            write_tokens(folder / held_out / name, "heldout", shortened, tokenizer, 10**8)
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


def network(tokenizer: PreTrainedTokenizerFast, heads: int) -> MistralForCausalLM:
    ids = {f"{name}_token_id": _id(tokenizer, name) for name in ("bos", "eos", "pad")}
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
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
        adam_epsilon=1e-10,
        bf16=arm.bf16,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def keys_of(arm: Arm, seed: int) -> PretrainKeys:
    return PretrainKeys(
        stage="pretrain",
        hub_model_id="",
        dataset_name="",
        model_name_or_path="",
        global_batch_size=arm.batch,
        context_length=CONTEXT,
        mixture=[MixtureItem(source=s, weight=w, epochs=MOST_STEPS) for s, w in SHARES.items()],
        optimizer="muon",
        embedding_learning_rate=arm.embeddings,
        head_learning_rate=arm.head,
        norm_learning_rate=arm.norms,
        seed=seed,
    )


def trainer_of(arm: Arm, args: TrainingArguments, net: Any, data: Mixture, keys: Any) -> Any:
    """A trainer with the arm's optimizer, whose AdamW has the groups and rates of Muon's."""
    kind, options = optimizers.muon(keys, args, net)
    if arm.optimizer == "adamw":
        del options["params"][0]["momentum"]
        options["fused"] = True  # as the Trainer's own
    trainer = PretrainTrainer(
        model=net, args=args, train_dataset=data, optimizer_cls_and_kwargs=(kind, options)
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(arm: Arm, seconds: float, seed: int, folder: Path, tokens: Path, tokenizer: Any) -> int:
    """Trains one arm into `folder`; returns its steps. `seed` is for weights and order."""
    torch.manual_seed(seed)
    net = network(tokenizer, arm.heads)
    initialize_for_muon(net)
    args, keys, shards = settings(arm, str(folder)), keys_of(arm, seed), TokenFolder(tokens)
    clock = _Clock(seconds)
    framing, length = Framing.of(tokenizer, "tokenizer"), MOST_STEPS * arm.batch
    if arm.bigrams:
        bigrams.fit(net, pairs.counts(shards, net.config.vocab_size, framing))
    data = Mixture(shards, Order.from_keys(keys, shards.shards), length, framing)
    trainer = trainer_of(arm, args, net, data, keys)
    trainer.add_callback(clock)
    whole = trainer.data_collator

    def cut(rows: list[Any]) -> dict[str, torch.Tensor]:
        length = SHORT if clock.passed < arm.short else CONTEXT
        return {key: value.reshape(-1, length) for key, value in whole(rows).items()}

    trainer.data_collator = cut
    rates: Callable[[int], float] = functools.partial(rate, clock, arm)
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.create_optimizer(), rates)
    trainer.train()
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(trainer.state.global_step)


def changed(word: str) -> Arm:
    """The arm of `NAME` or `NAME@SETTING=VALUE,…`."""
    name, _, changes = word.partition("@")
    values: dict[str, Any] = dict(change.split("=") for change in changes.split(",") if change)
    for key, value in values.items():
        kind = type(getattr(ARMS[name], key))
        values[key] = value if kind is str else kind(float(value))
    return replace(ARMS[name], **values)


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 90.0
    seeds = [int(seed) for seed in (sys.argv[3] if len(sys.argv) > 3 else "0,1,2").split(",")]
    words = sys.argv[4:] or list(ARMS)
    arms = {word: changed(word) for word in words}
    text = "choose" if any("@" in word for word in words) else "report"
    keep_memory()
    torch.set_num_threads(1)
    print(f"{seconds:.0f} s of processor time each; text to {text}")
    print(machine("torch", "transformers"))
    print("  seed   steps     tokens  bits per byte  arm")
    scores: dict[str, list[float]] = {word: [] for word in words}
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place)
        tokenizer = write_corpus(corpus)
        for number, seed in enumerate(seeds):
            for word in words[:: -1 if number % 2 else 1]:
                arm = arms[word]
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    steps = train(arm, seconds, seed, folder, corpus / "train", tokenizer)
                    found = held_out_text.bits_per_byte(folder, corpus / text, CONTEXT)
                scores[word].append(found["bits_per_byte"])
                tokens = steps * arm.batch * CONTEXT
                score = scores[word][-1]
                print(f"  {seed:4} {steps:7} {tokens:10,} {score:14.3f}  {word}", flush=True)
    for word, found_scores in scores.items():
        print(f"  mean of {len(seeds)}: {statistics.fmean(found_scores):.3f}  {word}")
