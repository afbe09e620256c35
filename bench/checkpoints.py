"""Seconds that checkpoints and their pushes take from pretraining, beside a run with neither.

    python -m bench checkpoints [STEPS]      5 by default, between two saves

6.5M parameters and one sequence of 512 a step: a checkpoint has 78 MB, of which 26 are pushed to a
local Hub, while one thread trains. Each run is a process of its own with an empty Hub; the two
kinds take turns. Saves are much closer together than in use, so that their cost stands out; divided
by the seconds between two saves it is the share of the time that is lost. What counts is the wall
time of the training; pushes that are under way at its end are waited for after it, and named apart.
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

from bench.train_step import isolated, model
from moxin_recipes import environment
from moxin_recipes.hub.server import launcher
from moxin_recipes.training.checkpoints import Checkpoints
from moxin_recipes.training.trainers import PretrainTrainer

VOCABULARY, SAVES, ROUNDS = 4096, 8, 3
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
        arguments=SimpleNamespace(hub_model_id="bench", hub_private_repo=True, **keys),
        recipe=SimpleNamespace(stage="pretrain", tag="phase", name="20-pretrain"),
        state=folder,
        key="bench",
        is_main=True,
        seconds=0.0,
        manifest=lambda **facts: {**MANIFEST, **facts},
    )


def train(folder: Path, every: int, saves: bool) -> tuple[float, float]:
    """Wall seconds of the training, and of waiting for pushes after it."""
    torch.set_num_threads(1)
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        max_steps=SAVES * every,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="steps" if saves else "no",
        save_steps=every,
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = PretrainTrainer(
        model=model(VOCABULARY), args=args, train_dataset=isolated(VOCABULARY) * every
    )
    trainer.remove_callback(PrinterCallback)
    checkpoints = Checkpoints(stage(folder), trainer)
    trainer.add_callback(checkpoints)
    began = time.perf_counter()
    trainer.train()
    ended = time.perf_counter()
    checkpoints.finish()
    return ended - began, time.perf_counter() - ended


def run(every: int, saves: bool) -> tuple[float, float]:
    """`train` in a process that finds a Hub of its own."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        who = launcher.identity(home / "hub")
        os.environ.update(environment.local_variables(who, home / "cache"), MOXIN_HOME=name)
        hub = launcher.ensure(who)
        assert hub is not None
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
                return one.submit(train, home / "run", every, saves).result()
        finally:
            hub.terminate()
            hub.wait()


def main() -> None:
    every = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for saves in found:
            found[saves].append(run(every, saves))
    bare, full = (statistics.median(took for took, _ in found[saves]) for saves in found)
    after = statistics.median(waited for _, waited in found[True])
    print(f"{SAVES} saves, one every {every} steps or {bare / SAVES:.1f} s; medians of {ROUNDS}")
    for saves, kind in ((False, "without"), (True, "with both")):
        print(f"  {kind:10} {', '.join(f'{took:.2f}' for took, _ in found[saves])} s")
    print(f"  without saves and Hub   {bare:8.2f} s")
    print(f"  with both               {full:8.2f} s, ratio {full / bare:.4f}")
    print(f"  lost for each save      {(full - bare) / SAVES:8.3f} s")
    print(f"  waited at the end       {after:8.2f} s")
