"""The parent's side of verification: it hands jobs to a few worker processes, in order.

A worker (`worker.py`) works in forked children and kills a child that reaches its time limit. So an
answer that hangs costs only its own time. Workers are separate programs. They are not forks of the
trainer, which has threads and maybe a GPU, nor of `multiprocessing`, which would import the trainer
again. A worker ends when its input ends, also if the trainer is killed.
"""

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from moxin_recipes.recipe.strict import RecipeError

TIMED_OUT = "timed out"
DIED = "died"
_START = 120.0  # seconds that a worker may take for its imports
_GRACE = 30.0  # a worker that is this many seconds beyond a job's limit counts as dead


class Unavailable(RecipeError):
    """This machine cannot run such jobs; the message says why."""


@dataclass(frozen=True)
class Job:
    """Steps for one worker; `seconds` limits each comparison, or all programs together.

    A worker that tries programs takes one step a job.
    """

    steps: Sequence[Any]
    seconds: float


class Result(NamedTuple):
    """The output of a step, its seconds, and why it failed ("" if it did not)."""

    output: str
    seconds: float
    failure: str


def _cores() -> int:
    """Returns this process's share of the cores, where several processes share the machine."""
    shared = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // shared)


class _Worker:
    """A process of `worker.py`; each message to and from it is one line of JSON."""

    def __init__(self, kind: str) -> None:
        # It gets none of our secrets, and starts no Hub. Sets are in one order every time.
        environment = {"MOXIN_HUB": "hf", "PYTHONHASHSEED": "0"}
        for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "moxin_recipes.rewards.worker", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.ready = False
        self.place: int | None = None  # the index of its job
        self.deadline = time.monotonic() + _START

    def fileno(self) -> int:
        assert self.process.stdout is not None  # noqa: S101 (a pipe)
        return self.process.stdout.fileno()

    def give(self, place: int, job: Job) -> None:
        """Sends a job; if the worker is dead, reading its answer shows it."""
        assert self.process.stdin is not None  # noqa: S101 (a pipe)
        self.place, self.deadline = place, time.monotonic() + job.seconds * len(job.steps) + _GRACE
        line = json.dumps({"steps": list(job.steps), "seconds": job.seconds})
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.process.kill()

    def take(self) -> dict[str, Any] | None:
        """Returns the next line of a worker that has one, or None if it died."""
        assert self.process.stdout is not None  # noqa: S101 (a pipe)
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None  # noqa: S101 (a pipe)
            with contextlib.suppress(BrokenPipeError):  # the rest of its input is lost
                pipe.close()


class Pool:
    """Up to one worker a core for jobs of one kind; workers start when they are needed."""

    def __init__(self, kind: str, size: int | None = None) -> None:
        self._kind = kind
        self.size = size or _cores()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        atexit.register(self.close)

    def run(self, jobs: Sequence[Job]) -> list[list[Result]]:
        """Returns the results of each job, in order; raises Unavailable if no job can run."""
        with self._lock:
            try:
                return self._run(jobs)
            finally:  # after an error, no worker may keep a job whose result nobody reads
                for worker in [worker for worker in self._workers if worker.place is not None]:
                    self._drop(worker)

    def close(self) -> None:
        """Ends the workers."""
        for worker in list(self._workers):
            self._drop(worker)

    def processes(self) -> list[int]:
        """Returns the process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()

    def _run(self, jobs: Sequence[Job]) -> list[list[Result]]:
        done: dict[int, list[Result]] = {}
        waiting = deque(range(len(jobs)))
        tried: set[int] = set()
        while len(done) < len(jobs):
            self._hand_out(waiting, jobs)
            for worker, answer in self._answers():
                place, worker.place = worker.place, None
                if place is None:
                    self._started(worker, answer)
                elif answer is not None:
                    done[place] = [Result(*result) for result in answer["results"]]
                else:
                    self._drop(worker)
                    if place in tried:
                        done[place] = [Result("", jobs[place].seconds, DIED)] * len(
                            jobs[place].steps
                        )
                    else:  # the job may not be the cause
                        tried.add(place)
                        waiting.appendleft(place)
        return [done[place] for place in range(len(jobs))]

    def _hand_out(self, waiting: deque[int], jobs: Sequence[Job]) -> None:
        """Gives waiting jobs to idle workers; starts a worker for each job, up to `size`."""
        busy = sum(worker.place is not None for worker in self._workers)
        while len(self._workers) < min(self.size, busy + len(waiting)):
            self._workers.append(_Worker(self._kind))
        for worker in self._workers:
            if worker.ready and worker.place is None and waiting:
                place = waiting.popleft()
                worker.give(place, jobs[place])

    def _started(self, worker: _Worker, answer: dict[str, Any] | None) -> None:
        """Reads the first line of a worker, which says whether it can do this kind of work."""
        worker.ready = answer is not None and not answer["refused"]
        if not worker.ready:
            self._drop(worker)
            why = answer["refused"] if answer else "its worker did not start"
            raise Unavailable(f"`rewards`: {why}")

    def _answers(self) -> list[tuple[_Worker, dict[str, Any] | None]]:
        """Returns workers with their answers; None stands for one that is dead or far too late."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                if not worker.ready or worker.place is not None:
                    selector.register(worker, selectors.EVENT_READ)
            readable = [key.fileobj for key, _ in selector.select(timeout=1.0)]
        clock = time.monotonic()
        answering = [worker for worker in self._workers if worker in readable]
        late = [
            worker
            for worker in self._workers
            if worker not in answering
            and (worker.place is not None or not worker.ready)
            and clock > worker.deadline
        ]
        return [(worker, worker.take()) for worker in answering] + [
            (worker, None) for worker in late
        ]
