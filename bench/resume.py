"""Measures the seconds from a checkpoint to the next step, at an early step and at late ones.

Our trainer begins to read at the sequence of the step; the plain HF Trainer iterates over all
batches before it. Both have the same tiny model and the same data. A checkpoint of step 1, with N
written into its state, replaces a checkpoint of step N.
"""

import itertools
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from transformers import Trainer, TrainerCallback, TrainingArguments

from bench.inputs import BATCH, CONTEXT, FRAMING, documents, model
from moxin_recipes.recipe.keys.pretrain import MixtureItem
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.tokens.shards import NARROW, TokenFolder
from moxin_recipes.training.trainers import PretrainTrainer, stack

STEPS, LAST, ROUNDS = (10, 10_000, 1_000_000), 1_000_001, 5


class Stop(TrainerCallback):
    """Records when the first step is done, and ends the training."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.first_step_end = time.perf_counter()
        control.should_training_stop = True


def arguments(folder: Path, **overrides: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH[4096],
        max_steps=LAST,
        use_cpu=True,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy=overrides.pop("save_strategy", "no"),
        **overrides,
    )


def ours(folder: Path, data: Mixture, step: int, **overrides: Any) -> Trainer:
    trainer = PretrainTrainer(
        model=model(4096),
        args=arguments(folder, **overrides),
        train_dataset=data,
        max_skipped_steps=100,
    )
    trainer.start_step = step
    return trainer


def as_it_comes(folder: Path, data: Mixture, step: int) -> Trainer:  # noqa: ARG001 (same shape)
    args = arguments(folder, train_sampling_strategy="sequential", remove_unused_columns=False)
    return Trainer(model=model(4096), args=args, train_dataset=data, data_collator=stack)


def seconds(trainer: Trainer, checkpoint: Path | None) -> float:
    stop = Stop()
    trainer.add_callback(stop)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return stop.first_step_end - start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "text" / "train-00000-00000.bin"
        path.parent.mkdir()
        np.concatenate(list(itertools.islice(documents(4096), 200))).astype(NARROW).tofile(path)
        item = [MixtureItem(source="text", weight=1.0, epochs=30_000)]
        tokens = TokenFolder(folder)
        order = Order({"text": tokens.shards("text", "train")}, item, CONTEXT, seed=0, group=16)
        data = Mixture(tokens, order, LAST * BATCH[4096], FRAMING)
        seconds(ours(folder, data, 0, save_strategy="steps", save_steps=1), None)
        first = folder / "checkpoint-1"
        print(f"seconds from a checkpoint to the first step after it, median of {ROUNDS}")
        print(f"  {'step':>10} {'moxin pretrain':>15} {'HF Trainer':>12}")
        for step in STEPS:
            step_folder = folder / f"checkpoint-{step}"
            shutil.copytree(first, step_folder, dirs_exist_ok=True)
            state = json.loads((first / "trainer_state.json").read_text())
            (step_folder / "trainer_state.json").write_text(
                json.dumps({**state, "global_step": step})
            )
            medians = [
                statistics.median(
                    seconds(make(folder, data, step), step_folder) for _ in range(ROUNDS)
                )
                for make in (ours, as_it_comes)
            ]
            print(f"  {step:>10,} {medians[0]:>15.2f} {medians[1]:>12.2f}")
