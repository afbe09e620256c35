"""Runs contenders in separate processes that take turns, one training step each.

So all of them see the same load of the machine, the allocator settings of one do not affect
another, and start-up and compilation do not count. Every other round has the opposite order. Every
contender computes with one thread. The clock is the processor time of its process, which is its
time on a free core, whatever else runs on the machine.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from transformers import TrainerCallback

from moxin_recipes.cpu.memory import keep_freed_memory

Turn = Callable[[], None]  # a contender calls it after each step; it waits for the next turn
WARM_UP = 2  # steps of each contender that do not count


class _Clock:
    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._start = pipe, time.process_time()

    def __call__(self) -> None:
        self._pipe.send(time.process_time() - self._start)
        self._pipe.recv()
        self._start = time.process_time()


def _work(contender: Callable[[Turn], None], pipe: Connection) -> None:
    torch.set_num_threads(1)
    contender(_Clock(pipe))


@dataclass(frozen=True)
class Result:
    """The seconds of each counted step of each contender, in the order of the rounds."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Returns the median seconds of a contender's step."""
        return statistics.median(self.seconds[name])


def take_turns(contenders: dict[str, Callable[[Turn], None]], rounds: int) -> Result:
    """Runs every contender `WARM_UP` + `rounds` steps, one step of each in turn.

    A contender is a picklable function that trains without end and calls its argument after each
    step.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["moxin_recipes.training.trainers"])  # with its imports
    running = []
    for name, contender in contenders.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(contender, theirs), daemon=True)
        process.start()
        theirs.close()
        ours.recv()  # its first step is done, so only one contender starts up at a time
        running.append((name, process, ours))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(WARM_UP - 1 + rounds):
        for name, _, pipe in running[:: 1 if number % 2 else -1]:
            pipe.send(None)
            seconds_taken = pipe.recv()
            if number >= WARM_UP - 1:
                seconds[name].append(seconds_taken)
    for _, process, _ in running:
        process.terminate()
        process.join()
    return Result(seconds)


class Tell(TrainerCallback):
    """Calls a turn after each step of a Trainer."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._turn()


def keep_memory() -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"  # as `accelerate launch` sets it on a CPU
    keep_freed_memory()


PRODUCT = 2 * 2048**3  # operations of a step of `matrix_product`


def matrix_product(turn: Turn) -> None:
    """Multiplies two matrices of 2,048 × 2,048 in float32: the peak that a step can have."""
    left, right = torch.randn(2, 2048, 2048)
    out = torch.empty(2048, 2048)
    while True:
        torch.mm(left, right, out=out)
        turn()
