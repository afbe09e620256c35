"""Runs stages one after another, each in a fork of this process: libraries are loaded once.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages

`moxin run` starts it for stages that have the same launch, of one process on a CPU. Standard input
is a socket. A line asks for a stage, as a JSON list of its module and the words of its command
line; the answer is a line with its exit code, minus the signal if one ended it. A stage has the
environment of its launch, its own random numbers and its own end, as a process of its own does.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import sys

from moxin_recipes import ending


def main() -> None:
    """Answers until the other end of the socket is closed."""
    import torch

    asked = socket.socket(fileno=os.dup(0))
    lines = asked.makefile()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for line in lines:
        module, *words = json.loads(line)
        # The driver of a GPU does not live on in a fork; there a stage begins as a new program.
        anew = torch.accelerator.is_available()
        if not anew:
            importlib.import_module(module)
            gc.freeze()  # a collection in the fork would copy all pages
        child = os.fork()
        if not child:
            if anew:
                program = [sys.executable, "-m", module, *words]
                os.execv(program[0], program)  # noqa: S606 (no shell)
            lines.close()
            asked.close()
            become(module, words)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(BrokenPipeError):  # `moxin run` was killed; the stage has ended
            asked.sendall(f"{code}\n".encode())
    ending.with_code(0)


def become(module: str, words: list[str]) -> None:
    """Does what `python -m MODULE WORDS` does, to its end."""
    sys.argv = [module, *words]
    del sys.modules[module]  # it runs as the main one
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
