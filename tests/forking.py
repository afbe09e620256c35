"""`python -m MODULE` as a fork of this process, where it has imported the module already.

`moxin run` starts accelerate's launcher, and that starts the stage: each is a child of the one
before, with its variables, its streams, its session and its exit code, as without this.
"""

import atexit
import inspect
import os
import runpy
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

_EXECUTE = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_SIGNATURE = inspect.signature(_EXECUTE)


def fork_instead_of(modules: list[str]) -> None:
    """From here on, and in all forks, a started `python … -m` one of these modules is a fork.

    One that is to talk to another Hub is not: the libraries have read the address of this one.
    """
    address = os.environ.get("HF_ENDPOINT")

    def execute(self: "subprocess.Popen[Any]", *given: Any) -> None:
        start = _SIGNATURE.bind(self, *given).arguments
        words = [str(word) for word in start["args"]]
        at = words.index("-m") + 1 if words[0] == sys.executable and "-m" in words else 0
        variables = os.environ if start["env"] is None else start["env"]
        here = variables.get("HF_ENDPOINT", address) == address
        if not at or not here:
            _EXECUTE(self, *given)
        elif words[at] in modules:
            _fork(self, words[at], words[at + 1 :], start)
        else:
            cold = ("accelerate.", "moxin_recipes.stages.")
            assert not words[at].startswith(cold), f"{words[at]} would import everything anew"
            _EXECUTE(self, *given)

    subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]


def _fork(
    process: "subprocess.Popen[Any]", module: str, words: list[str], start: dict[str, Any]
) -> None:
    assert not start["preexec_fn"]
    assert not start["cwd"]
    sys.stdout.flush()
    sys.stderr.flush()
    reads, writes = os.pipe()
    process.pid = os.fork()
    if not process.pid:
        _forget(start)
        os.close(reads)
        os.close(writes)
        os._exit(ended(module, *words))
    os.close(writes)
    os.read(reads, 1)  # until the fork is as a new program: Popen waits for that, too
    os.close(reads)
    process._child_created = True  # type: ignore[attr-defined]
    names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    process._close_pipe_fds(*(start[name] for name in names))  # type: ignore[attr-defined]


def _forget(start: dict[str, Any]) -> None:
    """Variables, session, handlers of signals and streams, as a new program has them."""
    if start["env"] is not None:
        os.environ.clear()
        os.environ.update(start["env"])
    if start["start_new_session"]:
        os.setsid()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            mine = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, mine)
    for stream, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
        if start[name] not in (-1, stream):
            os.dup2(start[name], stream)
    for name in ("p2cwrite", "c2pread", "errread"):
        if start[name] != -1:
            os.close(start[name])


def ended(module: str, *words: str) -> int:
    """Runs the module as the interpreter does, to the very end; its exit code."""
    code: object = 0
    try:
        run(module, *words)
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:  # the interpreter prints any, and nothing of the parent's stack may go on
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    assert code is None or isinstance(code, int)
    return code or 0


def run(module: str, *words: str) -> None:
    """Does what `python -m MODULE WORDS` does, or the script of that path."""
    sys.argv = [module, *words]
    if "/" in module:
        runpy.run_path(module, run_name="__main__")
        return
    if module.startswith("moxin_recipes.stages."):
        from moxin_recipes import environment as ours

        ours.choose()  # as `moxin_recipes.stages` does for `-m`; here it is imported already
    sys.modules.pop(module, None)  # where it runs, it has not been imported
    runpy.run_module(module, run_name="__main__", alter_sys=True)
