"""Measures the seconds of a GRPO step on a CPU, with our trainer and with TRL's.

    python -m bench grpo_step

Both have the same model, prompts, lengths and settings: six layers of width 256 with random weights
and 32,000 pieces, and 4 prompts × 8 completions of 64 tokens (no token ends them), in float32 on
one thread, without gradient checkpointing, with freed memory kept. Measured are a step with a
reference model (beta .001), one without, and the generation alone. That both compute the same is
tested (`tests/cpu/`).
"""

import functools
import tempfile
from pathlib import Path

from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from bench.figures import print_times
from bench.inputs import save_model
from bench.machine import machine
from bench.turns import Tell, Turn, keep_memory, take_turns
from moxin_recipes.chats import template
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.tokens.write import train_tokenizer

PROMPTS, GROUP, LENGTH, ROUNDS, VOCABULARY = 4, 8, 64, 5, 32_000
ROWS = 8  # completions of a pass: TRL's step takes longer with all 32
STEPS = 50  # more than the rounds and the warm-up need
CONTENDERS = {"TRL's GRPOTrainer": GRPOTrainer, "moxin's on a CPU": CpuGRPOTrainer}


def write_model(folder: Path) -> None:
    tokenizer = train_tokenizer(["<|user|>\nhow many?\n<|assistant|>\n12 or 13"] * 20, 300)
    template.prepare_tokenizer(tokenizer, "tulu.jinja", None)
    save_model(folder, tokenizer, VOCABULARY)


def trainer(kind: type[GRPOTrainer], folder: Path, beta: float) -> GRPOTrainer:
    keep_memory()
    questions = [f"how many? {'12 or ' * i}" for i in range(PROMPTS)] * STEPS
    grpo_trainer = kind(
        model=str(folder),
        reward_funcs=[lambda completion_ids, **_: [float(ids[0] % 2) for ids in completion_ids]],
        args=GRPOConfig(
            output_dir=str(folder / "run"),
            per_device_train_batch_size=ROWS,
            gradient_accumulation_steps=PROMPTS * GROUP // ROWS,
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
            [{"prompt": [{"role": "user", "content": question}]} for question in questions]
        ),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    grpo_trainer.remove_callback(PrinterCallback)
    grpo_trainer.eos_token_ids = [VOCABULARY]  # no token: all completions have the same length
    grpo_trainer.generation_config.eos_token_id = VOCABULARY
    grpo_trainer.generation_kwargs["eos_token_id"] = VOCABULARY
    return grpo_trainer


def steps(turn: Turn, kind: type[GRPOTrainer], folder: Path, beta: float) -> None:
    grpo_trainer = trainer(kind, folder, beta)
    grpo_trainer.add_callback(Tell(turn))
    grpo_trainer.train()


def generations(turn: Turn, kind: type[GRPOTrainer], folder: Path) -> None:
    grpo_trainer = trainer(kind, folder, beta=0.0)
    rows = grpo_trainer.train_dataset[:PROMPTS]["prompt"]
    ids = grpo_trainer.processing_class.apply_chat_template(rows, add_generation_prompt=True)
    prompts = [each for each in ids["input_ids"] for _ in range(GROUP)]
    while True:
        grpo_trainer._generate_single_turn(prompts, None, {}, GROUP)
        turn()


def main() -> None:
    print(f"a GRPO step; {machine('torch', 'transformers', 'trl')}; medians of {ROUNDS}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder)
        tables = {
            "a step, beta .001": functools.partial(steps, folder=folder, beta=0.001),
            "a step, beta 0": functools.partial(steps, folder=folder, beta=0.0),
            "generation": functools.partial(generations, folder=folder),
        }
        for title, work in tables.items():
            result = take_turns(
                {name: functools.partial(work, kind=kind) for name, kind in CONTENDERS.items()},
                ROUNDS,
            )
            print(title)
            print_times(result.seconds)
