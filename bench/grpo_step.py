"""Seconds of a GRPO step on a CPU: our trainer beside TRL's own, same model, prompts and lengths.

Six layers of width 256 with random weights and 32,000 pieces, 8 prompts of 8 to 26 tokens × 8
completions that all reach 64 tokens (nothing ends them), float32. The contenders take turns; what
counts is the ratio of medians. Before that, both score one batch: same loss, same entropy.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import MistralConfig, MistralForCausalLM, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from moxin_recipes.chats import template
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.tokens.write import train_tokenizer

PROMPTS, GROUP, LENGTH, STEPS, ROUNDS, VOCABULARY = 8, 8, 64, 1, 3, 32_000


def write_model(folder: Path) -> None:
    tokenizer = train_tokenizer(["<|user|>\nhow many?\n<|assistant|>\n12 or 13"] * 20, 300)
    template.prepare_tokenizer(tokenizer, "tulu.jinja", None)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=2,
            sliding_window=4096,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)


def trainer(kind: type[GRPOTrainer], folder: Path, beta: float) -> GRPOTrainer:
    made = kind(
        model=str(folder),
        reward_funcs=[lambda completion_ids, **_: [float(ids[0] % 2) for ids in completion_ids]],
        args=GRPOConfig(
            output_dir=str(folder / "run"),
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=LENGTH,
            max_steps=STEPS,
            beta=beta,
            top_k=0,
            learning_rate=1e-6,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        ),
        train_dataset=Dataset.from_list(
            [
                {"prompt": [{"role": "user", "content": "how many? " + "12 or " * i}]}
                for i in range(PROMPTS * STEPS)
            ]
        ),
        processing_class=chat_tokenizer(folder),
    )
    made.remove_callback(PrinterCallback)
    made.eos_token_ids = [VOCABULARY]  # none: every completion is of the same length
    made.generation_config.eos_token_id = VOCABULARY
    made.generation_kwargs["eos_token_id"] = VOCABULARY
    return made


def chat_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def seconds(kind: type[GRPOTrainer], folder: Path, beta: float) -> tuple[float, float]:
    """(a step, the generation in it)."""
    made = trainer(kind, folder, beta)
    spent = []
    generate = made._generate_single_turn

    def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = generate(*given, **named)
        spent.append(time.perf_counter() - began)
        return result

    made._generate_single_turn = timed
    began = time.perf_counter()
    made.train()
    return (time.perf_counter() - began) / STEPS, statistics.mean(spent)


def same_numbers(folder: Path) -> None:
    """Both trainers' loss and entropy on one batch."""
    ours, stock = (trainer(kind, folder, 0.001) for kind in (CpuGRPOTrainer, GRPOTrainer))
    ours.model.train()
    batch = ours._generate_and_score_completions([r for r in ours.train_dataset for _ in range(4)])
    # On policy, advantages of a group cancel out where all completions are of one length.
    batch["advantages"] = torch.randn(len(batch["advantages"]))
    found = []
    for made in (ours, stock):
        made.model.train()
        made.current_gradient_accumulation_steps = 1
        loss = float(made.compute_loss(made.model, dict(batch)).detach())
        found.append((loss, made._metrics["train"]["entropy"][-1]))
    print(f"  one batch: loss {found[0][0]:.7f} and {found[1][0]:.7f}, ", end="")
    print(f"entropy {found[0][1]:.6f} and {found[1][1]:.6f}")


def main() -> None:
    contenders = {"TRL's GRPOTrainer": GRPOTrainer, "moxin's on a CPU": CpuGRPOTrainer}
    print(f"a GRPO step, {torch.get_num_threads()} threads, {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        same_numbers(folder)
        for beta in (0.001, 0.0):
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
            for _ in range(ROUNDS):
                for name, kind in contenders.items():
                    times[name].append(seconds(kind, folder, beta))
            print(f"  beta {beta}: seconds a step, of which generation")
            first: list[float] = []
            for name, rows in times.items():
                medians = [statistics.median(column) for column in zip(*rows, strict=True)]
                first = first or medians
                ratios = [a / b for a, b in zip(first, medians, strict=True)]
                print(f"    {name:24} {medians[0]:6.2f} {medians[1]:6.2f}", end="")
                print(f"   times faster: {ratios[0]:.2f}, {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
