"""One task of lm-eval on one model: its own tasks by name, those of `tasks/` on pulled items."""

import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from moxin_recipes.hub.pull import Pull
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys, Evaluation

logging.getLogger("lm_eval").setLevel(logging.WARNING)  # it explains itself at length
TASKS = Path(__file__).parent / "tasks"


def evaluate(
    wanted: Evaluation,
    model: Path,
    keys: EvaluateKeys,
    pull: Pull,
    work: Path,
) -> dict[str, Any]:
    """What lm-eval returns for one task on the model in the folder `model`.

    `pull` gives the folder of an input of the recipe; `work` takes the items of a task of `tasks/`.
    Each item's own scores are there where the recipe names a corpus.
    """
    task, manager = _task(wanted.task, pull, work)
    lm = HFLM(
        pretrained=str(model),
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch_size=keys.eval_batch_size,
    )
    results: dict[str, Any] = simple_evaluate(
        lm,
        tasks=[task],
        num_fewshot=wanted.num_fewshot,
        limit=keys.limit,
        apply_chat_template=wanted.chat,
        task_manager=manager,
        random_seed=keys.seed,
        log_samples=keys.corpus_name is not None,
        bootstrap_iters=1000,
    )
    return results


def _task(name: str, pull: Pull, work: Path) -> tuple[str | dict[str, Any], TaskManager]:
    """A task of this package on the pulled held-out items, or the name of one of lm-eval's."""
    path = TASKS / f"{name}.yaml"
    if not path.exists():
        return name, TaskManager()
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    config, split = task["metadata"]["config"], task["metadata"]["split"]
    file = work / f"{name}.jsonl"
    load_split(pull("problems_name"), config, split, [], "problems_name").to_json(file)
    task["dataset_kwargs"] = {"data_files": {"test": str(file.absolute())}}
    return task, TaskManager(include_defaults=False)
