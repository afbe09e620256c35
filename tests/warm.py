"""Processes of a stage that start at once: forked off one that has imported the libraries.

Importing torch, transformers and TRL takes longer than a tiny training, and the tests that kill and
resume need many processes. Each is a process of its own with the environment that `accelerate
launch` makes of a config file; only the import is shared.
"""

import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from tests import forking

ROOT = Path(__file__).parent.parent  # (conftest would set the variables of the tests' own home)

# Read by the child: run FSDP on CPU processes, which accelerate has no setting for.
GLOO_FSDP = "MOXIN_TEST_GLOO_FSDP"


class Process:
    """A started process; `log` has its standard output, `errors` (often the same) its error."""

    def __init__(self, parent: "Warm", pid: int, log: Path, errors: Path) -> None:
        self._parent, self.pid, self.log, self.errors = parent, pid, log, errors
        self._code: int | None = None

    def wait(self) -> int:
        """Its exit code, minus the signal if one ended it."""
        if self._code is None:
            self._code = int(self._parent.ask({"wait": self.pid}))
        return self._code

    def kill(self) -> None:
        """`kill -9`, then its end; one that has ended already is left alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self.wait()

    def running(self) -> bool:
        """Whether it has not ended; a zombie has."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"


class Warm:
    """The process that everything is forked from; variables and folder hold for all of them."""

    def __init__(
        self, modules: list[str], environment: dict[str, str], folder: Path = ROOT
    ) -> None:
        path = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        self._environment = environment | {"PYTHONPATH": path}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", *modules],
            env=self._environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: list[Process] = []
        self._logs = tempfile.TemporaryDirectory()

    def __enter__(self) -> "Warm":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._started:
            process.kill()
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._logs.cleanup()

    def ask(self, command: dict[str, Any]) -> Any:
        """Sends a command and reads its answer."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(command) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, f"the process to fork from ended: {self._server.wait()}"
        return json.loads(answer)

    def start(self, config: Path, module: str, words: list[str], log: Path) -> list[Process]:
        """The processes of `accelerate launch --config_file CONFIG -m MODULE WORDS`, one a rank."""
        environment, count = launcher_environment(config, module)
        if environment.get("ACCELERATE_USE_FSDP") == "true":
            environment |= {GLOO_FSDP: "1", "ACCELERATE_TORCH_DEVICE": "cpu"}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = []
        for rank in range(count):
            ranks = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            file = log.with_name(f"{log.name}-{rank}.log")
            added = environment | (ranks if count > 1 else {})
            started.append(self._fork([module, *words], added, (file, file), whole=False))
        return started

    def _fork(
        self, words: list[str], environment: dict[str, str], logs: tuple[Path, Path], whole: bool
    ) -> Process:
        """A fork with these variables: beside those of the server, or, `whole`, no others."""
        command = {"words": words, "environment": environment, "whole": whole}
        process = Process(self, self.ask(command | {"streams": [*map(str, logs)]}), *logs)
        self._started.append(process)
        return process

    def begin(self, words: list[str], environment: dict[str, str]) -> Process:
        """A module or a script and its words, with these variables; what it starts is forked."""
        log = Path(self._logs.name) / str(len(self._started))
        logs = (log.with_suffix(".out"), log.with_suffix(".errors"))
        return self._fork(words, environment, logs, whole=True)

    def completed(
        self, words: list[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """`begin`, to its end."""
        process = self.begin(words, environment)
        code = process.wait()
        out, errors = process.log.read_text(), process.errors.read_text()
        return subprocess.CompletedProcess(words, code, out, errors)

    def run(self, config: Path, module: str, words: list[str], log: Path) -> str:
        """Runs it to its end; rank 0's output. An exit code that is not 0 fails the test."""
        started = self.start(config, module, words, log)
        codes = [process.wait() for process in started]
        assert not any(codes), "".join(process.log.read_text()[-3000:] for process in started)
        return started[0].log.read_text()


def wait_for(there: Path, process: Process) -> None:
    """Returns once a path exists; fails the test when the process ends before."""
    while not there.exists():
        assert process.running(), process.log.read_text()[-3000:]
        time.sleep(0.005)


def launcher_environment(config: Path, module: str) -> tuple[dict[str, str], int]:
    """What accelerate's launcher adds to the environment for a config file, and its processes."""
    from accelerate.commands import launch
    from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

    options = launch.launch_command_parser().parse_args(
        ["--quiet", "--config_file", str(config), "--num_cpu_threads_per_process=1", "-m", module]
    )
    options, _, _ = launch._validate_launch_command(options)
    if options.num_processes == 1:
        made = prepare_simple_launcher_cmd_env(options)[1]
    else:
        made = prepare_multi_gpu_env(options)
    added = {name: value for name, value in made.items() if os.environ.get(name) != value}
    return added, int(options.num_processes)


def serve(modules: list[str]) -> None:
    """Imports, then forks a process for each command on standard input."""
    from moxin_recipes import environment

    environment.choose()  # as the launch of a stage does, before the libraries are imported
    for module in modules:
        importlib.import_module(module)
    forking.fork_instead_of(modules)
    gc.freeze()  # a collection in a child would copy all pages
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            _, status = os.waitpid(command["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if not answer:
                child(command)
        answers.write(f"{answer}\n")
        answers.flush()


def child(command: dict[str, Any]) -> NoReturn:
    """Becomes the process: streams, variables, command line; then runs the module."""
    streams = [os.open(os.devnull, os.O_RDONLY)]
    for path in command["streams"]:
        streams.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600))
    for target, source in enumerate(streams):
        os.dup2(source, target)
    if command["whole"]:
        os.environ.clear()
    os.environ.update(command["environment"])
    if os.environ.get(GLOO_FSDP):
        use_gloo_for_fsdp()
    # Without the end of the interpreter, which would copy nearly all pages to free what they hold.
    os._exit(forking.ended(*command["words"]))


def use_gloo_for_fsdp() -> None:
    """Makes accelerate take two CPU processes for two GPUs, so that its FSDP2 is real."""
    import torch
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    from moxin_recipes.recipe import trainers

    torch.distributed.init_process_group("gloo")

    def backend(*_: Any) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = backend
    # It would give the Trainer `use_cpu`, and that means DDP.
    trainers.trains_on_cpu = lambda _: False


if __name__ == "__main__":
    serve(sys.argv[1:])
