"""Measures the seconds of a GRPO step on a CPU, with our trainer and with TRL's.

Both have the same model, prompts and lengths: six layers of width 256 with random weights and
32,000 pieces, and 8 prompts of 8 to 26 tokens × 8 completions of 64 tokens (no token ends them), in
float32. The contenders take turns, and the result is the ratio of medians. Before that, both
compute the loss and the entropy of one batch, which must agree.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from bench.inputs import save_model
from moxin_recipes.chats import template
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.tokens.write import train_tokenizer

PROMPTS, GROUP, LENGTH, STEPS, ROUNDS, VOCABULARY = 8, 8, 64, 1, 3, 32_000


def write_model(folder: Path) -> None:
    tokenizer = train_tokenizer(["<|user|>\nhow many?\n<|assistant|>\n12 or 13"] * 20, 300)
    template.prepare_tokenizer(tokenizer, "tulu.jinja", None)
    save_model(folder, tokenizer, VOCABULARY)


def trainer(trainer_class: type[GRPOTrainer], folder: Path, beta: float) -> GRPOTrainer:
    grpo_trainer = trainer_class(
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
    grpo_trainer.remove_callback(PrinterCallback)
    grpo_trainer.eos_token_ids = [VOCABULARY]  # no token: all completions have the same length
    grpo_trainer.generation_config.eos_token_id = VOCABULARY
    grpo_trainer.generation_kwargs["eos_token_id"] = VOCABULARY
    return grpo_trainer


def chat_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def seconds(trainer_class: type[GRPOTrainer], folder: Path, beta: float) -> tuple[float, float]:
    """Returns the seconds of a step, and of the generation in it."""
    grpo_trainer = trainer(trainer_class, folder, beta)
    generation_seconds = []
    generate = grpo_trainer._generate_single_turn

    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        result = generate(*arguments, **keywords)
        generation_seconds.append(time.perf_counter() - start)
        return result

    grpo_trainer._generate_single_turn = timed
    start = time.perf_counter()
    grpo_trainer.train()
    return (time.perf_counter() - start) / STEPS, statistics.mean(generation_seconds)


def same_numbers(folder: Path) -> None:
    """Prints both trainers' loss and entropy on one batch."""
    ours, stock = (trainer(kind, folder, 0.001) for kind in (CpuGRPOTrainer, GRPOTrainer))
    ours.model.train()
    batch = ours._generate_and_score_completions([r for r in ours.train_dataset for _ in range(4)])
    # On policy, the advantages of a group cancel out if all completions have one length.
    batch["advantages"] = torch.randn(len(batch["advantages"]))
    results = []
    for grpo_trainer in (ours, stock):
        grpo_trainer.model.train()
        grpo_trainer.current_gradient_accumulation_steps = 1
        loss = float(grpo_trainer.compute_loss(grpo_trainer.model, dict(batch)).detach())
        results.append((loss, grpo_trainer._metrics["train"]["entropy"][-1]))
    print(f"  one batch: loss {results[0][0]:.7f} and {results[1][0]:.7f}, ", end="")
    print(f"entropy {results[0][1]:.6f} and {results[1][1]:.6f}")


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
                for name, trainer_class in contenders.items():
                    times[name].append(seconds(trainer_class, folder, beta))
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
