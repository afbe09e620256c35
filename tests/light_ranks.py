"""Eight processes of two nodes that only share answers; see test_ranks.

`light_ranks PORT OUT`: each appends what it was told, as a line of JSON, to OUT/RANK. Rank 4 ends
on its way, as if somebody had killed it.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed  # noqa: F401 (before the forks, which share it)

from moxin_recipes.hub.session import MissingError
from moxin_recipes.ranks import Ranks
from moxin_recipes.recipe.strict import RecipeError

RANKS, A_NODE = 8, 4


def fail(error: Exception) -> None:
    raise error


def turn(ranks: Ranks, out: Path, fails: bool = False) -> list[int]:
    """Who was there before this rank."""
    with ranks.in_turn("c"), (out / "turns").open("a+") as file:
        if fails:
            raise RecipeError("4")
        file.seek(0)
        before = [int(line) for line in file]
        file.write(f"{ranks.rank}\n")
        return before


def steps(ranks: Ranks, out: Path) -> dict[str, Callable[[], Any]]:
    rank = ranks.rank
    return {
        "once": lambda: ranks.once("a", lambda: {"by": rank}),
        "a node": lambda: ranks.once_a_node("b", lambda: rank),
        "turn": lambda: turn(ranks, out),
        "turn again": lambda: turn(ranks, out),
        "turn of one that fails": lambda: turn(ranks, out, fails=rank == 4),
        "gather": lambda: ranks.gather("d", lambda: rank**2),
        "recipe": lambda: ranks.once("e", lambda: fail(RecipeError("`key`: wrong"))),
        "hub": lambda: ranks.once_a_node("f", lambda: fail(MissingError(f"missing {rank}"))),
        "full": lambda: ranks.once("g", lambda: fail(OSError(28, "No space left"))),
        "bug": lambda: ranks.once("h", lambda: fail(KeyError("k"))),
        "one of all": lambda: ranks.gather("i", lambda: fail(RecipeError("5")) if rank == 5 else 0),
        "says": lambda: ranks.says("a line"),
        "ended": lambda: ranks.once_a_node("j", lambda: os._exit(9) if rank == 4 else rank),
        "all ended": lambda: ranks.gather("k", lambda: rank),
    }


def one(rank: int, out: Path) -> None:
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank % A_NODE)})
    ranks = Ranks(silence=1.0)
    for name, step in steps(ranks, out).items():
        try:
            told = [step()]
        except Exception as error:
            told = [type(error).__name__, str(error)]
        with (out / str(rank)).open("a") as file:
            file.write(json.dumps([name, told]) + "\n")


def main() -> None:
    port, out = sys.argv[1], Path(sys.argv[2])
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    os.environ.update({"WORLD_SIZE": str(RANKS), "TORCHELASTIC_USE_AGENT_STORE": "True"})
    children = []
    for rank in range(RANKS):
        children.append(os.fork())
        if not children[-1]:
            one(rank, out)
            os._exit(0)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
