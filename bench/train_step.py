"""Measures useful tokens a second in training: ours, a bare loop, HF Trainer, TRL and padded rows.

    python -m bench train_step [4096|32000|49152 [pretrain|sft|sft_half]]

There are two shapes with random weights: 6 layers of width 256 (6.5M parameters with 4,096 pieces,
20.7M with 32,000), and SmolLM2-135M's with its 49,152 pieces, for some contenders. All train in
float32 on one thread, on the same documents, with 8 sequences of 512 a step (2 for the large
shape), and have the settings that cost their user one line, as ours does: fused AdamW, freed memory
kept, and compilation as a row of its own. Ratios are with the usual trainer with and without kept
memory. A token is useful if it is no padding. Document lengths are log-normal with a median of 400
tokens. So some 70 % of a row are useful if it holds one document, cut at 512. "Half learned" means
that the labels are the second half of each document. MFU compares the multiplications of the model
(causal attention counts half of the square; the head counts all rows) with the fastest of the
matrix products that one thread computes between the steps.
"""

import functools
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import adjusted_mfu, compute_flops_per_token, compute_mfu

from bench.inputs import (
    BATCH,
    CONTEXT,
    PAD,
    WINDOWS,
    chats,
    config,
    documents,
    isolated,
    learned,
    model,
    windows,
)
from bench.machine import machine
from bench.turns import (
    PRODUCT,
    Result,
    Tell,
    Turn,
    keep_memory,
    matrix_product,
    take_turns,
)
from moxin_recipes.tokens.write import train_tokenizer
from moxin_recipes.training.trainers import PackedSFTTrainer, PretrainTrainer, stack

ROUNDS = {4096: 7, 32000: 5, 49152: 5}
STEPS = WINDOWS  # more than the rounds and the warm-up need
PADDED, PRODUCTS = "HF Trainer, one padded document a row", "matrix products"


def options(vocabulary: int, **overrides: Any) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": BATCH[vocabulary],
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **overrides,
    }


def bare(vocabulary: int, turn: Turn) -> None:
    keep_memory()
    net, rows, batch_size = model(vocabulary), isolated(vocabulary), BATCH[vocabulary]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    for step in range(STEPS):
        batch = stack(rows[step * batch_size : (step + 1) * batch_size])
        net(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        turn()


def hf_trainer(
    vocabulary: int, turn: Turn, keep_freed: bool = True, compiled: bool = False
) -> None:
    """Trains on rows cut from the stream, as usual scripts do; documents attend to each other."""
    if keep_freed:
        keep_memory()
    rows = [{"input_ids": ids, "labels": ids} for ids in windows(vocabulary)]
    args = TrainingArguments(**options(vocabulary, torch_compile=compiled))
    Trainer(model=model(vocabulary), args=args, train_dataset=rows, callbacks=[Tell(turn)]).train()


def padded(vocabulary: int, turn: Turn) -> None:
    """Trains on one cut or padded document a row, with loss on padding, as Moxin's code does."""
    keep_memory()
    rows = []
    for ids, _ in zip(documents(vocabulary), range(WINDOWS * BATCH[vocabulary]), strict=False):
        row, used = np.full(CONTEXT, PAD), min(len(ids), CONTEXT)
        row[:used] = ids[:used]
        mask = (np.arange(CONTEXT) < used).astype(int)
        rows.append({"input_ids": row, "labels": row, "attention_mask": mask})
    args = TrainingArguments(**options(vocabulary))
    Trainer(model=model(vocabulary), args=args, train_dataset=rows, callbacks=[Tell(turn)]).train()


def useful_share() -> float:
    """Returns the share of a padded row that is no padding."""
    lengths = [min(len(d), CONTEXT) for d, _ in zip(documents(100), range(5000), strict=False)]
    return statistics.mean(lengths) / CONTEXT


def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["some text"], 300)


def trl_packed(
    vocabulary: int,
    turn: Turn,
    strategy: str = "wrapped",
    share: float = 1.0,
    keep_freed: bool = True,
) -> None:
    if keep_freed:
        keep_memory()
    selected = [ids for ids, _ in zip(documents(vocabulary), range(400), strict=False)]
    labels = [learned(ids, share).tolist() for ids in selected]
    rows = Dataset.from_dict({"input_ids": [ids.tolist() for ids in selected], "labels": labels})
    args = SFTConfig(
        packing=True,
        packing_strategy=strategy,
        max_length=CONTEXT,
        bf16=False,
        gradient_checkpointing=False,
        **options(vocabulary),
    )
    SFTTrainer(
        model=model(vocabulary),
        args=args,
        train_dataset=rows,
        processing_class=tokenizer(),
        callbacks=[Tell(turn)],
    ).train()


def moxin_pretrain(vocabulary: int, turn: Turn, compiled: bool = False) -> None:
    keep_memory()
    args = TrainingArguments(**options(vocabulary, torch_compile=compiled))
    PretrainTrainer(
        model=model(vocabulary),
        args=args,
        train_dataset=isolated(vocabulary),
        callbacks=[Tell(turn)],
    ).train()


def moxin_sft(vocabulary: int, turn: Turn, share: float = 1.0) -> None:
    keep_memory()
    PackedSFTTrainer(
        model=model(vocabulary),
        args=SFTConfig(bf16=False, gradient_checkpointing=False, **options(vocabulary)),
        train_dataset=chats(vocabulary, share),
        processing_class=tokenizer(),
        callbacks=[Tell(turn)],
    ).train()


# The first two of a table are its references. All contenders at once need too much memory.
TABLES: dict[str, dict[str, Any]] = {
    "pretrain": {
        "HF Trainer, packed, not isolated": functools.partial(hf_trainer, keep_freed=False),
        "the same, freed memory kept": hf_trainer,
        "the same, torch_compile": functools.partial(hf_trainer, compiled=True),
        PADDED: padded,
        "bare PyTorch loop, packed": bare,
        "moxin pretrain": moxin_pretrain,
        "moxin pretrain, torch_compile": functools.partial(moxin_pretrain, compiled=True),
    },
    "sft": {
        "TRL SFTTrainer, wrapped": functools.partial(trl_packed, keep_freed=False),
        "the same, freed memory kept": trl_packed,
        "TRL SFTTrainer, bfd_split": functools.partial(trl_packed, strategy="bfd_split"),
        "moxin sft": moxin_sft,
    },
    "sft_half": {
        "TRL SFTTrainer, wrapped": functools.partial(trl_packed, share=0.5, keep_freed=False),
        "the same, freed memory kept": functools.partial(trl_packed, share=0.5),
        "moxin sft": functools.partial(moxin_sft, share=0.5),
    },
}
SKIPPED = {  # too slow, or too much memory
    32000: ("TRL SFTTrainer, bfd_split", PADDED, "bare PyTorch loop, packed"),
    49152: ("the same, torch_compile", "moxin pretrain, torch_compile"),
}


def report(vocabulary: int, table: str) -> None:
    """Prints one table."""
    contenders: dict[str, Callable[[Turn], None]] = {
        name: functools.partial(contender, vocabulary)
        for name, contender in TABLES[table].items()
        if name not in SKIPPED.get(vocabulary, ())
    }
    rounds = ROUNDS[vocabulary]
    result = take_turns({**contenders, PRODUCTS: matrix_product}, rounds)
    peak = PRODUCT / min(result.seconds[PRODUCTS])
    parameters = sum(p.numel() for p in model(vocabulary).parameters())
    print(
        f"{table}, {vocabulary} pieces, {parameters:,} parameters, {rounds} steps each, one thread "
        f"each; matrix products reach {peak / 1e9:.0f} GFLOP/s"
    )
    print(f"  {machine('torch', 'transformers', 'trl', 'accelerate')}")
    print(f"  {'':37} useful tokens/s (least, most)   × first  × second   MFU")
    usual, kept = (speed(vocabulary, name, result.median(name)) for name in list(contenders)[:2])
    for name in contenders:
        print(f"  {name:37} {row(vocabulary, name, result, (usual, kept), peak)}", flush=True)


def speed(vocabulary: int, name: str, seconds: float) -> float:
    """Returns useful tokens a second."""
    return BATCH[vocabulary] * CONTEXT * (useful_share() if name == PADDED else 1) / seconds


def row(
    vocabulary: int, name: str, result: Result, references: tuple[float, float], peak: float
) -> str:
    slowest, median, fastest = (
        speed(vocabulary, name, seconds)
        for seconds in (max(result.seconds[name]), result.median(name), min(result.seconds[name]))
    )
    shape = config(vocabulary)
    seen = BATCH[vocabulary] * CONTEXT / result.median(name)
    mfu = compute_mfu(compute_flops_per_token(shape, CONTEXT), seen, 1, peak)
    return (
        f"{median:15.0f} {f'({slowest:.0f}, {fastest:.0f})':>14} "
        + " ".join(f"{median / reference:9.2f}" for reference in references)
        + f" {adjusted_mfu(mfu, shape, CONTEXT) / 100:5.2f}"
    )


def main() -> None:
    torch.set_num_threads(1)  # as in the contenders, for what `machine` says
    for vocabulary in [int(word) for word in sys.argv[2:3]] or list(ROUNDS):
        for table in sys.argv[3:] or list(TABLES):
            if vocabulary != 49152 or table == "pretrain":  # a step of TRL takes a minute
                report(vocabulary, table)
