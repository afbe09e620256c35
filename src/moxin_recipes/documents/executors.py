"""Where the steps of datatrove run: this machine, Slurm or Ray; each task starts anew after a kill.

A finished task leaves a mark below its step's folder and is not run again; one that was killed is
run from its start and writes the same files. On several machines the stage's folder must be on a
file system that all of them see.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.executor import LocalPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from moxin_recipes.recipe.keys.data import DocumentKeys
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
logger.remove()  # its lines go to the log of each task; the library talks on stderr by itself
Execute = Callable[[str, list[PipelineStep], int], None]


class Local(LocalPipelineExecutor):
    """datatrove's local executor without its manager process, and silent.

    That process outlives a kill -9 of ours and would hold the lock of the stage's folder forever.
    Workers die with the process that started them: none of them goes on writing beside the next
    run.
    """

    def run(self) -> None:
        """Runs the tasks that have no mark yet; the first error of a task is raised."""
        todo = self.get_incomplete_ranks()
        self.save_executor_as_json()
        talk = Path(self.logging_dir.resolve_paths("stderr.log"))
        if self.workers == 1:
            pipeline: Any = vars(self)["pipeline"]  # untyped there
            with contextlib.ExitStack() as after:
                after.callback(logger.remove)  # each task sets up the library's own again
                after.enter_context(contextlib.redirect_stderr(after.enter_context(talk.open("w"))))
                for rank in todo:
                    self.pipeline = deepcopy(pipeline)
                    self._run_for_rank(rank, local_rank=1)
            return
        context = multiprocess.get_context(self.start_method)
        context.set_forkserver_preload(
            ["moxin_recipes.documents.pipeline"]
        )  # imported once for all
        alive = talk.with_name("alive")
        with alive.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with context.Pool(self.workers, _worker, (talk, alive, os.environ.copy())) as pool:
                for _ in pool.imap_unordered(self._run_task, todo):
                    pass

    def _run_task(self, rank: int) -> None:
        self._run_for_rank(rank, local_rank=1)


def _worker(talk: Path, alive: Path, environment: dict[str, str]) -> None:
    """First act of a worker: quiet, and gone when the lock that its starter holds is free."""

    def die_with_starter() -> None:
        with alive.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits for as long as the starter lives
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die_with_starter, daemon=True).start()
    os.environ.update(environment)
    sys.stderr = talk.open("a")


def executor(keys: DocumentKeys, folder: Path) -> Execute:
    """A function of (step, blocks, tasks) that runs a step to its end where the recipe says.

    Marks, logs and statistics lie in `folder/STEP`. RecipeError for a task that failed.
    """

    def execute(step: str, blocks: list[PipelineStep], tasks: int) -> None:
        place = folder / step
        made: PipelineExecutor
        if keys.executor == "slurm":
            made = _slurm(keys, blocks, tasks, place)
        elif keys.executor == "ray":
            made = _ray(keys, blocks, tasks, place)
        else:
            made = Local(blocks, tasks, min(keys.workers, tasks), logging_dir=str(place))
        if not made.get_incomplete_ranks():
            return
        log.info("  %s", step)
        place.mkdir(parents=True, exist_ok=True)
        made.run()
        if isinstance(made, SlurmPipelineExecutor):
            _wait(made)
        left = made.get_incomplete_ranks()
        if left:
            raise RecipeError(
                f"{len(left)} of {tasks} tasks of the step {step} failed; their logs are in "
                f"{place}/logs; the same command runs only those again"
            )

    return execute


def _slurm(
    keys: DocumentKeys, blocks: list[PipelineStep], tasks: int, place: Path
) -> SlurmPipelineExecutor:
    if not keys.slurm_partition:
        raise RecipeError("`slurm_partition`: name the partition for `executor: slurm`")
    if shutil.which("sbatch") is None:
        raise RecipeError("`executor`: slurm, but there is no sbatch here; run it on a login node")
    return SlurmPipelineExecutor(
        blocks,
        tasks,
        keys.slurm_time,
        keys.slurm_partition,
        mem_per_cpu_gb=keys.slurm_memory,
        workers=keys.workers,
        job_name=f"moxin-{place.name}",
        env_command=f"export PATH={Path(sys.executable).parent}:$PATH",
        logging_dir=str(place),
        slurm_logs_folder=str(place / "slurm"),
    )


def _ray(
    keys: DocumentKeys, blocks: list[PipelineStep], tasks: int, place: Path
) -> RayPipelineExecutor:
    try:
        import ray
    except ImportError:
        raise RecipeError("`executor`: ray is not installed; pip install 'ray[default]'") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False)  # RAY_ADDRESS names a cluster
    return RayPipelineExecutor(blocks, tasks, keys.workers, logging_dir=str(place))


def _wait(made: SlurmPipelineExecutor, seconds: float = 2.0) -> None:
    """Returns when all tasks have their mark, or the job has left the queue."""
    queued = True
    while made.get_incomplete_ranks() and queued:
        time.sleep(seconds)
        asked = subprocess.run(
            ["squeue", "--noheader", "--jobs", str(made.job_id)],  # noqa: S607 (the cluster's)
            capture_output=True,
            text=True,
            check=False,
        )
        queued = asked.returncode == 0 and bool(asked.stdout.strip())
