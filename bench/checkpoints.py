"""Seconds that checkpoints and their pushes take from pretraining, beside a run with neither.

    python -m bench checkpoints [STEPS [SAVES [ROUNDS]]]      5 steps a save, 8 saves, 4 rounds

6.5M parameters and one sequence of 512 a step: a checkpoint has 78 MB, of which 26 are pushed to a
local Hub, while one thread trains. In each round the two kinds run at the same time, so that they
see the same machine, each with an empty Hub and all of its processes on one core; the next round
swaps the cores. By default saves are much closer together than in use, so that their cost stands
out. What counts is the wall time of the training; pushes that are under way at its end are waited
for after it, and named apart.
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
    """What `Checkpoints` asks of a stage that runs."""
    keys = {"push_to_hub": True, "push_checkpoints": True, "keep_checkpoints": None}
    return SimpleNamespace(
        keys=SimpleNamespace(hub_model_id="bench", hub_private_repo=True, **keys),
        recipe=SimpleNamespace(stage="pretrain", tag="phase", name="20-pretrain"),
        state=folder,
        identity=SimpleNamespace(key="bench", values={}),
        is_main=True,
        seconds=0.0,
        manifest=lambda **facts: {**MANIFEST, **facts},
    )


def train(folder: Path, every: int, saves: int, kept: bool) -> tuple[float, float]:
    """Wall seconds of the training, and of waiting for pushes after it."""
    torch.set_num_threads(1)
    keep_memory()
    rows = isolated(VOCABULARY)
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        max_steps=saves * every,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="steps" if kept else "no",
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
    began = time.perf_counter()
    trainer.train()
    ended = time.perf_counter()
    checkpoints.finish()
    return ended - began, time.perf_counter() - ended


def run(core: int, every: int, saves: int, kept: bool) -> tuple[float, float]:
    """`train` in a process that finds a Hub of its own; both of them on `core`."""
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        who = launcher.identity(home / "hub")
        os.environ.update(environment.local_variables(who, home / "cache"), MOXIN_HOME=name)
        hub = launcher.ensure(who)
        assert hub is not None
        try:
            with ProcessPoolExecutor(1, SPAWN) as one:
                return one.submit(train, home / "run", every, saves, kept).result()
        finally:
            hub.terminate()
            hub.wait()


def main() -> None:
    given = [int(word) for word in sys.argv[2:]]
    every, saves, rounds = given + [5, 8, 4][len(given) :]
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("this benchmark needs two cores")
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(rounds):
        with ProcessPoolExecutor(2, SPAWN) as pair:
            pending = {
                kept: pair.submit(run, cores[(kept + number) % 2], every, saves, kept)
                for kept in found
            }
            for kept, future in pending.items():
                found[kept].append(future.result())
        bare, full = (times[-1][0] for times in found.values())
        print(f"round {number + 1}: without {bare:.2f} s, with both {full:.2f} s", flush=True)
    bare, full = (statistics.mean(took for took, _ in found[kept]) for kept in found)
    after = statistics.mean(waited for _, waited in found[True])
    print(f"{saves} saves, one every {every} steps or {bare / saves:.1f} s; means of {rounds}")
    print(f"  without saves and Hub   {bare:8.2f} s")
    print(f"  with both               {full:8.2f} s, ratio {full / bare:.4f}")
    print(f"  lost for each save      {(full - bare) / saves:8.3f} s")
    print(f"  waited at the end       {after:8.2f} s")
