"""`moxin gguf`: a model of a Hub as the file that llama.cpp reads."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

TYPES = ("f16", "bf16", "f32", "q8_0")


def add_to(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds it to the command line; `command` makes a parser of a name, a help and an action."""
    gguf = command("gguf", "Write a model as the file that llama.cpp reads.", _gguf)
    gguf.add_argument("model", metavar="REPO[@REVISION]")
    gguf.add_argument("--type", choices=TYPES, default="f16", help="of the matrices")
    where = gguf.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="FILE", help="NAME.TYPE.gguf if it is not given")
    where.add_argument("--push", action="store_true", help="to the branch gguf of the repository")
    gguf.add_argument("--hub", help="local, hf, or the URL of a Hub")
    gguf.add_argument("--namespace", help="namespace of repositories named without one")


def _gguf(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.models.llama_cpp import branch

    session.start()
    if options.push:
        commit = branch.share(options.model, options.type)
        repo = session.qualified(options.model.partition("@")[0])
        sys.stdout.write(f"pushed to {repo}@gguf ({commit[:12]})\n")
    else:
        sys.stdout.write(f"{branch.write(options.model, options.type, options.out)}\n")
