"""Pretraining on a disk and a network that take as long as the others wait; see test_slow.

`slow FOLDER --config RECIPE`, on two ranks. On rank 0 the digest of a checkpoint's largest file,
and the push of the model, end only when rank 1 waits for what rank 0 does, in the store, or has
ended. Should it wait in a collective instead, neither goes on. When training is over the processes
meet once more, as in a stage that evaluates then.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from moxin_recipes import run
from moxin_recipes.hub import manifest, push
from moxin_recipes.ranks import Ranks
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.stages import pretrain
from moxin_recipes.training import checkpoints

ENDED = "ended"
PATIENCE = 120.0  # seconds, after which the other is taken for one in a collective


def main(folder: Path) -> None:
    send, train, told, wait = push.push, checkpoints.train, Ranks._told, Ranks._wait
    state, working = folder / "rank-1", [""]  # what rank 1 waits for; what rank 0 works on

    def working_told(self: Ranks, what: str, worker: int, work: Callable[[], Any]) -> Any:
        working.append(what)
        try:
            return told(self, what, worker, work)
        finally:
            working.pop()

    def waiting(self: Ranks, what: str, worker: int) -> None:
        if self.rank:
            state.write_text(what)
        wait(self, what, worker)
        if self.rank:
            state.write_text("")

    def until_the_other_waits() -> None:
        deadline = time.monotonic() + PATIENCE
        while state.read_text() not in ([ENDED] if not working[-1] and _on_main() else working[1:]):
            assert time.monotonic() < deadline, f"rank 1 does not wait for {working} in the store"
            time.sleep(0.005)
        sys.stderr.write(f"the other waited for {working[-1] or 'nothing'}\n")

    def hash_slowly(path: Path) -> str:
        if path.name == "optimizer.pt" and os.environ["RANK"] == "0":
            until_the_other_waits()
        return manifest_sha256(path)

    def push_slowly(*given: Any, **options: Any) -> str:
        until_the_other_waits()
        return send(*given, **options)

    def train_and_meet(*given: Any) -> dict[str, Any]:
        facts = train(*given)
        torch.distributed.barrier()
        return facts

    manifest_sha256 = manifest.sha256_file
    state.touch()
    Ranks._told, Ranks._wait = working_told, waiting  # type: ignore[method-assign]
    for module in list(sys.modules.values()):
        if vars(module).get("sha256_file") is manifest_sha256:
            vars(module)["sha256_file"] = hash_slowly
    vars(run)["push"], vars(pretrain)["train"] = push_slowly, train_and_meet
    run.launch(pretrain.main, PretrainKeys)
    if os.environ["RANK"] != "0":
        state.write_text(ENDED)


def _on_main() -> bool:
    return threading.current_thread() is threading.main_thread()


if __name__ == "__main__":
    main(Path(sys.argv.pop(1)))
