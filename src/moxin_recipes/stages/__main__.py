"""Runs stages one after another, each in a fork of this process: libraries are loaded once.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages [MODULE …]

`moxin run` starts it for stages that have the same launch, of one process on a CPU, and names the
modules to load before the first one. Standard input is a socket. A line asks for a stage, as a JSON
list of its module and the words of its command line; the answer is a line with its exit code, minus
the signal if one ended it. A stage has the environment of its launch, its own random numbers and
its own end, as a process of its own does, and it runs the code and the packages that its result
records: once they are changed on the disk, stages are new programs.
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
from moxin_recipes.hub.code import code
from moxin_recipes.hub.manifest import installed
from moxin_recipes.recipe.strict import RecipeError


def main() -> None:
    """Answers until the other end of the socket is closed."""
    loaded = on_disk()  # before anything more is imported
    import torch

    asked = socket.socket(fileno=os.dup(0))
    lines = asked.makefile()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The driver of a GPU does not live on in a fork; there a stage begins as a new program.
    anew = loaded is None or torch.accelerator.is_available()
    for module in [] if anew else sys.argv[1:]:
        with contextlib.suppress(Exception):  # what is wrong with it, the stage says
            importlib.import_module(module)
    for line in lines:
        module, *words = json.loads(line)
        anew = anew or on_disk() != loaded
        if not anew:
            importlib.import_module(module)
            gc.freeze()  # a collection in the fork would copy all pages
            anew = on_disk() != loaded  # it was changed in that moment
        child = os.fork()
        if not child:
            if anew:
                program = [sys.executable, "-m", module, *words]
                os.execv(program[0], program)  # noqa: S606 (no shell)
            lines.close()
            asked.close()
            become(module, words)
            return
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(BrokenPipeError):  # `moxin run` was killed; the stage has ended
            asked.sendall(f"{ended}\n".encode())
    ending.with_code(0)


def on_disk() -> object:
    """The code and the packages that a result would record now; None if it must not record them.

    It is what a fork records from here on.
    """
    code.cache_clear()
    installed.cache_clear()
    try:
        return code(), installed()
    except RecipeError:
        return None


def become(module: str, words: list[str]) -> None:
    """Does what `python -m MODULE WORDS` does, to its end."""
    import numpy
    import torch
    from datasets.fingerprint import fingerprint_rng

    for seed_anew in (numpy.random.seed, torch.seed, fingerprint_rng.seed):  # Python does its own
        seed_anew()
    sys.argv = [module, *words]
    del sys.modules[module]  # it runs as the main one
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
