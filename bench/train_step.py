"""Measures useful tokens a second in training: ours, a bare loop, HF Trainer, TRL and padded rows.

    python -m bench train_step [4096|32000|49152 [HF|TRL]]

There are two shapes with random weights: 6 layers of width 256 (6.5M parameters with 4,096 pieces,
20.7M with 32,000), and SmolLM2-135M's with its 49,152 pieces, for some contenders. All train in
float32 on one thread, on the same documents, with 8 sequences of 512 a step (2 for the large
shape). A token is useful if it is no padding. Document lengths are log-normal with a median of 400
tokens. So some 70 % of a row are useful if it holds one document, cut at 512. "Half learned" means
that the labels are the second half of each document. MFU compares the multiplications of the model
(causal attention counts half of the square; the head counts all rows) with the best matrix product
that the same thread reaches between the rounds.
"""

import functools
import os
import statistics
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
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
from bench.turns import Turn, gemm_flops, take_turns
from moxin_recipes.cpu.memory import keep_freed_memory
from moxin_recipes.tokens.write import train_tokenizer
from moxin_recipes.training.trainers import PackedSFTTrainer, PretrainTrainer, stack

ROUNDS = {4096: 7, 32000: 4, 49152: 3}
STEPS = WINDOWS  # more than the rounds and the warm-up need


class _Tell(TrainerCallback):
    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._turn()


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
    net, rows, batch_size = model(vocabulary), isolated(vocabulary), BATCH[vocabulary]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for step in range(STEPS):
        batch = stack(rows[step * batch_size : (step + 1) * batch_size])
        net(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        turn()


def hf_trainer(vocabulary: int, turn: Turn, keep_freed: bool = False) -> None:
    """Trains on rows cut from the stream, as usual scripts do; documents attend to each other."""
    if keep_freed:
        keep_memory()
    rows = [{"input_ids": ids, "labels": ids} for ids in windows(vocabulary)]
    args = TrainingArguments(**options(vocabulary))
    Trainer(model=model(vocabulary), args=args, train_dataset=rows, callbacks=[_Tell(turn)]).train()


def padded(vocabulary: int, turn: Turn) -> None:
    """Trains on one cut or padded document a row, with loss on padding, as Moxin's code does."""
    rows = []
    for ids, _ in zip(documents(vocabulary), range(WINDOWS * BATCH[vocabulary]), strict=False):
        row, used = np.full(CONTEXT, PAD), min(len(ids), CONTEXT)
        row[:used] = ids[:used]
        mask = (np.arange(CONTEXT) < used).astype(int)
        rows.append({"input_ids": row, "labels": row, "attention_mask": mask})
    args = TrainingArguments(**options(vocabulary))
    Trainer(model=model(vocabulary), args=args, train_dataset=rows, callbacks=[_Tell(turn)]).train()


def useful_share() -> float:
    """Returns the share of a padded row that is no padding."""
    lengths = [min(len(d), CONTEXT) for d, _ in zip(documents(100), range(5000), strict=False)]
    return statistics.mean(lengths) / CONTEXT


def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["some text"], 300)


def trl_packed(vocabulary: int, turn: Turn, strategy: str, share: float = 1.0) -> None:
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
        callbacks=[_Tell(turn)],
    ).train()


def keep_memory() -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"  # as `accelerate launch` sets it on a CPU
    keep_freed_memory()


def moxin_pretrain(vocabulary: int, turn: Turn, compiled: bool = False) -> None:
    keep_memory()
    args = TrainingArguments(**options(vocabulary, torch_compile=compiled))
    PretrainTrainer(
        model=model(vocabulary),
        args=args,
        train_dataset=isolated(vocabulary),
        callbacks=[_Tell(turn)],
    ).train()


def moxin_sft(vocabulary: int, turn: Turn, share: float = 1.0) -> None:
    keep_memory()
    PackedSFTTrainer(
        model=model(vocabulary),
        args=SFTConfig(bf16=False, gradient_checkpointing=False, **options(vocabulary)),
        train_dataset=chats(vocabulary, share),
        processing_class=tokenizer(),
        callbacks=[_Tell(turn)],
    ).train()


# Each key names the contender that is the reference of its table. Two tables, because all
# contenders together would not fit in memory.
TABLES: dict[str, dict[str, Any]] = {
    "HF Trainer, packed, not isolated": {
        "bare PyTorch loop, packed": bare,
        "HF Trainer, packed, not isolated": hf_trainer,
        "the same, freed memory kept": functools.partial(hf_trainer, keep_freed=True),
        "HF Trainer, one padded document a row": padded,
        "moxin pretrain": moxin_pretrain,
        "moxin pretrain, torch_compile": functools.partial(moxin_pretrain, compiled=True),
    },
    "TRL SFTTrainer, wrapped": {
        "TRL SFTTrainer, wrapped": functools.partial(trl_packed, strategy="wrapped"),
        "TRL SFTTrainer, bfd_split": functools.partial(trl_packed, strategy="bfd_split"),
        "moxin sft": moxin_sft,
        "TRL SFTTrainer, wrapped, half learned": functools.partial(
            trl_packed, strategy="wrapped", share=0.5
        ),
        "moxin sft, half learned": functools.partial(moxin_sft, share=0.5),
    },
}
SMALL_ONLY = ("the same, freed memory kept", "moxin pretrain, torch_compile")  # too slow if large


def report(vocabulary: int, usual: str) -> None:
    """Prints one table; `usual` names it, and the contender with which it compares the others."""
    names = [n for n in TABLES[usual] if vocabulary != 49152 or n not in SMALL_ONLY]
    contenders = {name: functools.partial(TABLES[usual][name], vocabulary) for name in names}
    peaks: list[float] = []
    result = take_turns(contenders, ROUNDS[vocabulary], lambda: peaks.append(gemm_flops()))
    peak, share = statistics.median(peaks), useful_share()
    shape = config(vocabulary)
    flops = compute_flops_per_token(shape, CONTEXT)
    speeds = {
        name: BATCH[vocabulary] * CONTEXT * (share if "padded" in name else 1) / result.median(name)
        for name in names
    }
    parameters = sum(p.numel() for p in model(vocabulary).parameters())
    print(
        f"vocabulary {vocabulary}, {parameters:,} parameters; matrix products reach "
        f"{peak / 1e9:.0f} GFLOP/s; medians of {ROUNDS[vocabulary]} steps, one thread"
    )
    print(f"  {'':40} useful tokens/s   × {usual.split()[0]}    MFU")
    for name, speed in speeds.items():
        seen = speed / (share if "padded" in name else 1)
        mfu = adjusted_mfu(compute_mfu(flops, seen, 1, peak), shape, CONTEXT) / 100
        print(f"  {name:40} {speed:15.0f} {speed / speeds[usual]:7.2f} {mfu:6.2f}", flush=True)


def main() -> None:
    for vocabulary in [int(word) for word in sys.argv[2:3]] or list(ROUNDS):
        for usual in TABLES:
            if usual.startswith("TRL") and vocabulary == 49152:
                continue  # a step takes a minute
            if sys.argv[3:] in ([], [usual.split()[0]]):
                report(vocabulary, usual)
