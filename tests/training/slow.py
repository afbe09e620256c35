"""Pretraining on a slow disk and a slow network; see test_slow.

`slow LIMIT SECONDS --config RECIPE`: a collective may take LIMIT seconds. It takes SECONDS to hash
a checkpoint, and to push the model. When training is over the processes meet once more, as in a
stage that evaluates then.
"""

import functools
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from moxin_recipes import run
from moxin_recipes.hub import manifest, push
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.stages import pretrain
from moxin_recipes.training import checkpoints


def main(limit: float, seconds: float) -> None:
    sha256_file, send, train = manifest.sha256_file, push.push, checkpoints.train

    def hash_slowly(path: Path) -> str:
        if path.name == "config.json" and path.parent.name.startswith("checkpoint-"):
            time.sleep(seconds)
        return sha256_file(path)

    def push_slowly(*given: Any, **options: Any) -> str:
        time.sleep(seconds)
        return send(*given, **options)

    def train_and_meet(*given: Any) -> dict[str, Any]:
        facts = train(*given)
        torch.distributed.barrier()
        return facts

    # (The Trainer gives `ddp_timeout` to groups of GPUs alone.)
    torch.distributed.init_process_group = functools.partial(
        torch.distributed.init_process_group, timeout=timedelta(seconds=limit)
    )
    for module in list(sys.modules.values()):
        if vars(module).get("sha256_file") is sha256_file:
            vars(module)["sha256_file"] = hash_slowly
    vars(run)["push"], vars(pretrain)["train"] = push_slowly, train_and_meet
    run.launch(pretrain.main, PretrainKeys)


if __name__ == "__main__":
    main(float(sys.argv.pop(1)), float(sys.argv.pop(1)))
