"""Starts stages with `accelerate launch`; those of one process on a CPU share one launch."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moxin_recipes.ladder import launching
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError


class StageFailed(RuntimeError):
    """A stage ended with an exit code that is not 0; it printed why."""


class Launches:
    """The launches of a ladder's stages, one at a time; `close` ends what still runs.

    Stages whose launcher's file asks for one process on a CPU are forks of one launch
    (`moxin_recipes.stages`): libraries are loaded once. Every other stage has its own.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        # What the file of the launch that runs says, and where to ask for a stage.
        self._shared: tuple[dict[str, Any], socket.socket] | None = None

    def begin(self, file: Path, recipes: Iterable[Recipe[Any]]) -> None:
        """Starts the shared launch of a file; it loads the stages' modules before any is asked for.

        Nothing where each stage has a launch of its own, or the file cannot be read.
        """
        with contextlib.suppress(RecipeError):  # a check says it
            if _is_shared(Launcher.of_file(file)):
                self._share(file, dict.fromkeys(map(_module, recipes)))

    def run(self, before: State, file: Path) -> None:
        """Runs one stage to its end; StageFailed if its exit code is not 0."""
        recipe = before.recipe
        words = [_module(recipe), "--config", str(recipe.path)]
        if _is_shared(Launcher.of_file(file)):
            code = self._fork(file, words)
        else:
            processes = launching.launcher_of(recipe, file).processes_per_machine
            launch = self._start(file, processes, words)
            os.waitid(os.P_PID, launch.pid, os.WEXITED | os.WNOWAIT)
            code = self.close()
        if code:
            raise StageFailed(
                f"{recipe.name} ended with exit code {code}; "
                "what is done stays, and the same command goes on from there"
            )

    def _share(self, file: Path, modules: Iterable[str] = ()) -> socket.socket:
        """Where to ask for a stage: the launch of a file that says the same."""
        content = content_of(file)
        if not self._shared or self._shared[0] != content:
            ours, theirs = socket.socketpair()
            with theirs:
                self._start(file, 1, ["moxin_recipes.stages", *modules], theirs.fileno())
            self._shared = content, ours
        return self._shared[1]

    def _fork(self, file: Path, words: list[str]) -> int:
        """The exit code of a stage that is a fork of a shared launch."""
        asked = self._share(file)
        try:
            asked.sendall(f"{json.dumps(words)}\n".encode())
            answer = asked.recv(64)  # one short line
        except ConnectionError:
            answer = b""
        return int(answer or 1)  # without an answer, the launch itself has ended

    def _start(
        self, file: Path, processes: int, words: list[str], stdin: int | None = None
    ) -> "subprocess.Popen[bytes]":
        """Begins `accelerate launch` of a module with its words, in a session of its own."""
        self.close()
        command = [
            *(sys.executable, "-m", "accelerate.commands.launch"),  # `accelerate-launch`
            "--quiet",  # the stage says what went wrong; the launcher's own traceback adds nothing
            *("--num_cpu_threads_per_process", str(_threads(processes))),
            *("--config_file", str(file), "-m", *words),
        ]
        self._process = subprocess.Popen(command, stdin=stdin, start_new_session=True)
        return self._process

    def close(self) -> int:
        """Ends the launch that runs or has ended, with its whole process group; its exit code.

        Until then nothing waits for it, so its number is no other process's.
        """
        code = 0
        if self._process:
            os.killpg(self._process.pid, signal.SIGTERM)
            code = self._process.wait()
        if self._shared:
            self._shared[1].close()
        self._process = self._shared = None
        return code


def _module(recipe: Recipe[Any]) -> str:
    return f"moxin_recipes.stages.{recipe.stage}"


def _is_shared(launcher: Launcher) -> bool:
    return launcher.on_cpu and launcher.processes == 1


def _threads(processes_here: int) -> int:
    """CPU threads of each process: OMP_NUM_THREADS, else an equal share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS")
    return int(given) if given else max(1, len(os.sched_getaffinity(0)) // processes_here)
