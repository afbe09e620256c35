"""The datasets of lm-eval's tasks: asked for by one process of a node, and read by the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import load_from_disk
from lm_eval.api import task as lm_task

from moxin_recipes.ranks import Ranks


@contextmanager
def loaded_once(ranks: Ranks, unit: str, folder: Path) -> Iterator[None]:
    """Within the block, what lm-eval loads is loaded by the first process of each node.

    It writes the dataset below `folder`, where the others read it without asking the Hub. `unit`
    is what it belongs to.
    """
    load = lm_task.datasets.load_dataset

    def told(*names: Any, **options: Any) -> Any:
        where = folder / f"dataset-{ranks.rank}"

        def kept() -> Path:
            load(*names, **options).save_to_disk(where)
            return where

        asked = [*names, options.get("path"), options.get("name")]
        what = f"the dataset {' '.join(map(str, filter(None, asked)))} of {unit}"
        # In memory, because the folder goes when the unit is scored.
        return load_from_disk(ranks.once_a_node(what, kept), keep_in_memory=True)

    lm_task.datasets.load_dataset = told if ranks.size > 1 else load
    try:
        yield
    finally:
        lm_task.datasets.load_dataset = load
