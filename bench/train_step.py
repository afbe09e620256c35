"""Useful tokens a second of pretraining: our trainer, a bare loop, and padded rows.

Same model (nano's shape, random weights), same documents, float32, the same number of threads. A
token is useful if it is no padding. Each contender takes turns for several rounds; what counts is
the ratio of medians, not the seconds, which depend on the machine.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import MistralConfig, MistralForCausalLM, Trainer, TrainingArguments

from moxin_recipes.arguments import MixtureItem
from moxin_recipes.data.mixture import Mixture
from moxin_recipes.data.order import Order
from moxin_recipes.data.shards import TOKEN, TokenFolder
from moxin_recipes.training.trainers import PretrainTrainer, stack

CONTEXT, BATCH, STEPS, ROUNDS, BOS, EOS, PAD = 512, 2, 40, 5, 1, 2, 3


def model() -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=256,
            tie_word_embeddings=True,
            pad_token_id=PAD,
        )
    )


def documents(count: int = 4000) -> list[np.ndarray]:
    """Random documents; lengths are log-normal with a median of 150 tokens, as web pages have."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5, 1, count), 10, 4000).astype(int)
    return [np.array([BOS, *rng.integers(4, 1024, n), EOS]) for n in lengths]


def arguments(folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        learning_rate=1e-3,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
    )


def packed_trainer(data: Mixture, folder: str) -> tuple[float, int]:
    trainer = PretrainTrainer(
        model=model(), args=arguments(folder), train_dataset=data, max_skipped_steps=100
    )
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began, STEPS * BATCH * CONTEXT


def bare_loop(data: Mixture, folder: str) -> tuple[float, int]:  # noqa: ARG001 (same shape)
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    began = time.perf_counter()
    for step in range(STEPS):
        batch = stack([data[step * BATCH + i] for i in range(BATCH)])
        net(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began, STEPS * BATCH * CONTEXT


def padded_trainer(data: Mixture, folder: str) -> tuple[float, int]:  # noqa: ARG001 (same shape)
    cut = [d[:CONTEXT] for d in documents()[: STEPS * BATCH]]
    rows = []
    for ids in cut:
        full = np.full(CONTEXT, PAD)
        full[: len(ids)] = ids
        mask = (np.arange(CONTEXT) < len(ids)).astype(int)
        rows.append({"input_ids": full, "labels": full, "attention_mask": mask})
    trainer = Trainer(model=model(), args=arguments(folder), train_dataset=rows)
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began, sum(len(ids) for ids in cut)


def main() -> None:
    contenders: dict[str, Callable[[Mixture, str], tuple[float, int]]] = {
        "bare PyTorch loop, packed": bare_loop,
        "moxin pretrain, packed": packed_trainer,
        "HF Trainer, one padded document a row": padded_trainer,
    }
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text" / "train-00000-00000.bin"
        path.parent.mkdir()
        np.concatenate(documents()).astype(TOKEN).tofile(path)
        item = [MixtureItem(source="text", weight=1.0)]
        tokens = TokenFolder(Path(folder))
        order = Order({"text": tokens.shards("text", "train")}, item, CONTEXT, seed=0, group=16)
        data = Mixture(tokens, order, STEPS * BATCH, BOS)
        for _ in range(ROUNDS):
            for name, run in contenders.items():
                seconds, tokens = run(data, folder)
                speeds[name].append(tokens / seconds)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    first = next(iter(medians.values()))
    print(f"useful tokens a second, {torch.get_num_threads()} threads, {ROUNDS} rounds")
    for name, value in medians.items():
        print(f"  {name:40} {value:8.0f}  {value / first:.2f}")
