"""Measures the seconds that checkpoints and their pushes cost pretraining.

    python -m bench checkpoints [STEPS [SAVES [ROUNDS]]]      5 steps a save, 8 saves, 4 rounds

One thread trains 6.5M parameters on one sequence of 512 a step. A checkpoint has 78 MB, of which 26
are pushed to a local Hub. In each round, one run has saves and a Hub and the other has neither.
Both run at the same time, so they see the same machine. Each has an empty Hub and keeps all its
processes on one core; the next round swaps the cores. By default saves are much more frequent than
in real use, so that their cost is visible. The result is the wall time of the training. The time
that pushes take after its end is reported separately.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from bench.inputs import isolated, model
from bench.train_step import keep_memory
from moxin_hub import launcher
from moxin_recipes import environment
from moxin_recipes.training.checkpoints import Checkpoints
from moxin_recipes.training.trainers import PretrainTrainer

VOCABULARY = 4096
SPAWN = multiprocessing.get_context("spawn")
MANIFEST = {
    "stage": "pretrain",
    "recipe_name": "20-pretrain",
    "recipe_file": "recipes/bench/20-pretrain.yaml",
    "key": "bench",
    "recipe": {"stage": "pretrain"},
    "parents": [],
    "code": {"version": "0"},
    "libraries": {},
    "hardware": {"machine": "m", "cpus": 1, "gpus": [], "processes": 1},
    "seconds": 0.0,
}


def stage(folder: Path) -> Any:
    """Returns the part of a running stage that `Checkpoints` needs."""
    keys = {"push_to_hub": True, "push_checkpoints": True, "push_training_state": False}
    keys |= {"keep_checkpoints": None, "hub_private_repo": True}
    return SimpleNamespace(
        keys=SimpleNamespace(hub_model_id="bench", **keys),
        recipe=SimpleNamespace(stage="pretrain", tag="phase", name="20-pretrain"),
        state=folder,
        identity=SimpleNamespace(key="bench", values={}),
        is_main=True,
        seconds=0.0,
        manifest=lambda **facts: {**MANIFEST, **facts},
    )


def train(folder: Path, every: int, saves: int, with_saves: bool) -> tuple[float, float]:
    """Returns wall seconds of the training, and of waiting for pushes after it."""
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
    end = time.perf_counter()
    checkpoints.finish()
    return end - start, time.perf_counter() - end


def run(core: int, every: int, saves: int, with_saves: bool) -> tuple[float, float]:
    """Runs `train` in a process with its own Hub, both on `core`."""
    os.sched_setaffinity(0, {core})
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


def main() -> None:
    numbers = [int(word) for word in sys.argv[2:]]
    every, saves, rounds = numbers + [5, 8, 4][len(numbers) :]
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("this benchmark needs two cores")
    times_by_kind: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(rounds):
        with ProcessPoolExecutor(2, SPAWN) as pair:
            pending = {
                kind: pair.submit(run, cores[(kind + number) % 2], every, saves, kind)
                for kind in times_by_kind
            }
            for kind, future in pending.items():
                times_by_kind[kind].append(future.result())
        bare, full = (times[-1][0] for times in times_by_kind.values())
        print(f"round {number + 1}: without {bare:.2f} s, with both {full:.2f} s", flush=True)
    bare, full = (statistics.mean(spent for spent, _ in times) for times in times_by_kind.values())
    after = statistics.mean(wait_seconds for _, wait_seconds in times_by_kind[True])
    print(f"{saves} saves, one every {every} steps or {bare / saves:.1f} s; means of {rounds}")
    print(f"  without saves and Hub   {bare:8.2f} s")
    print(f"  with both               {full:8.2f} s, ratio {full / bare:.4f}")
    print(f"  lost for each save      {(full - bare) / saves:8.3f} s")
    print(f"  waited at the end       {after:8.2f} s")
