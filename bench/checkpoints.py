"""Measures the seconds that checkpoints and their pushes cost pretraining.

    python -m bench checkpoints [STEPS [SAVES]]      5 steps a save, 8 saves

One thread trains 6.5M parameters on one sequence of 512 a step. A checkpoint has 78 MB, of which 26
are pushed to a local Hub. In each round, one run has saves and an empty Hub and the other has no
saves. Training, sealing, pushing and the Hub share one core, so that nothing runs beside the
training: the worst case. By default saves are much more frequent than in real use, so that their
cost is visible. The result is the wall time from the first step until the last push is done.
"""

import functools
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from bench.figures import in_rounds, spread
from bench.inputs import isolated, model
from bench.machine import machine
from bench.turns import keep_memory
from moxin_hub import launcher
from moxin_recipes import environment, ranks
from moxin_recipes.training.checkpoints import Checkpoints
from moxin_recipes.training.trainers import PretrainTrainer

VOCABULARY, ROUNDS = 4096, 5
SPAWN = multiprocessing.get_context("spawn")
MANIFEST = {
    "stage": "pretrain",
    "recipe_name": "20-pretrain",
    "recipe_file": "recipes/bench/20-pretrain.yaml",
    "key": "bench",
    "recipe": {"stage": "pretrain"},
    "parents": [],
    "licenses": [],
    "flags": {},
    "launcher": {},
    "code": {"version": "0"},
    "libraries": {},
    "hardware": {"machine": "m", "cpus": 1, "gpus": [], "processes": 1},
    "seconds": 0.0,
}


def stage(folder: Path) -> Any:
    """Returns the part of a running stage that `Checkpoints` needs."""
    keys: dict[str, Any] = {"push_to_hub": True, "push_checkpoints": True}
    keys |= {"push_training_state": False, "keep_checkpoints": None, "hub_private_repo": True}
    return SimpleNamespace(
        keys=SimpleNamespace(hub_model_id="bench", **keys),
        recipe=SimpleNamespace(stage="pretrain", tag="phase", name="20-pretrain"),
        state=folder,
        folder=folder,
        ranks=ranks.of_environment(),
        parent=lambda _: None,  # no adapter names it
        identity=SimpleNamespace(key="bench", values={}),
        is_main=True,
        seconds=0.0,
        manifest=lambda **facts: {**MANIFEST, **facts},
    )


def train(folder: Path, every: int, saves: int, with_saves: bool) -> float:
    """Returns wall seconds of the training and of its last push."""
    torch.set_num_threads(1)
    keep_memory()
    rows = isolated(VOCABULARY)
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        max_steps=saves * every,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="steps" if with_saves else "no",
        save_steps=every,
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = PretrainTrainer(
        model=model(VOCABULARY),
        args=args,
        train_dataset=rows * (every * saves // len(rows) + 1),
    )
    trainer.remove_callback(PrinterCallback)
    checkpoints = Checkpoints(stage(folder), trainer)
    trainer.add_callback(checkpoints)
    start = time.perf_counter()
    trainer.train()
    if with_saves:
        checkpoints.finish()
    return time.perf_counter() - start


def run(every: int, saves: int, with_saves: bool) -> float:
    """Runs `train` in a process with its own Hub, both on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        identity = launcher.identity(home / "hub")
        os.environ.update(environment.local_variables(identity, home / "cache"), MOXIN_HOME=name)
        hub = launcher.ensure(identity)
        assert hub is not None
        try:
            with ProcessPoolExecutor(1, SPAWN) as process:
                return process.submit(train, home / "run", every, saves, with_saves).result()
        finally:
            hub.terminate()
            hub.wait()


def apart(every: int, saves: int, with_saves: bool) -> float:
    """`run` in a process, whose core and environment are its own."""
    with ProcessPoolExecutor(1, SPAWN) as process:
        return process.submit(run, every, saves, with_saves).result()


def main() -> None:
    numbers = [int(word) for word in sys.argv[2:]]
    every, saves = numbers + [5, 8][len(numbers) :]
    print(machine("torch", "transformers", "huggingface_hub"), "(training takes one)")
    seconds = in_rounds(
        {
            "without": functools.partial(apart, every, saves, with_saves=False),
            "with": functools.partial(apart, every, saves, with_saves=True),
        },
        ROUNDS,
    )
    lost = [
        (full - bare) / saves
        for bare, full in zip(seconds["without"], seconds["with"], strict=True)
    ]
    apart_seconds = [bare / saves for bare in seconds["without"]]
    print(f"{saves} saves, one every {every} steps or {spread(apart_seconds)} s of training")
    print(f"  without saves and Hub  {spread(seconds['without'])} s")
    print(f"  with both              {spread(seconds['with'])} s")
    print(f"  lost for each save     {spread(lost)} s")
