"""lm-eval's tasks built from their files, on the pinned dataset, and as they are asked."""

import contextlib
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api import task as lm_task
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks._factory import _ctor_accepts_config
from lm_eval.tasks._yaml_loader import _import_fun_from_str, load_yaml

from moxin_recipes.hub.pull import Pull
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.benchmarks import Function, Leaf
from moxin_recipes.recipe.keys.evaluate import Asked
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.graders import GRADERS

lm_task.tqdm = lambda rows, **_: rows  # of building prompts, which takes no time to speak of
SHOTS_SEED = 1234  # lm-eval's own, so that its command line has the same examples
_OTHER_SEEDS = {"random": 0, "numpy": 1234, "torch": 1234}  # lm-eval's
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_NO_CONFIG = ("tag", "group", "task_list", "include")


def build(leaf: Leaf, asked: Asked, commit: str | None, pull: Pull, work: Path) -> Task:
    """The task on its dataset at `commit`; its examples are lm-eval's for these shots.

    `pull` gives the folder of an input of the recipe, `work` takes the items of tasks on it.
    """
    random.seed(_OTHER_SEEDS["random"])
    np.random.seed(_OTHER_SEEDS["numpy"])
    torch.manual_seed(_OTHER_SEEDS["torch"])
    config = _config(leaf, asked)
    if leaf.is_ours:
        config["dataset_kwargs"] = {"data_files": {"test": str(_items(leaf, pull, work))}}
    elif leaf.repository:
        config["dataset_kwargs"] = (config.get("dataset_kwargs") or {}) | {"revision": commit}
    kind = config.pop("class", ConfigurableTask)
    made: Task = kind(config=config) if _ctor_accepts_config(kind) else kind()
    made.set_config("task", leaf.name)
    if asked.num_fewshot is not None and made.get_config("num_fewshot") != 0:
        made.set_config("num_fewshot", asked.num_fewshot)  # lm-eval leaves a 0 as it is
    elif made.get_config("num_fewshot") is None:
        made.set_config("num_fewshot", 0)
    made.set_fewshot_seed(seed=SHOTS_SEED)
    return made


class _Dry(ConfigurableTask):
    """A task up to where it would read its dataset."""

    def download(self, *_: Any, **__: Any) -> None:
        """Ends its making: functions and metrics have been found by now."""
        raise _FarEnough


class _FarEnough(Exception):
    """The dataset's turn has come."""


def prove(leaf: Leaf, asked: Asked) -> None:
    """Raises what is wrong with a task apart from its dataset: imports, metrics, its values."""
    config = _config(leaf, asked)
    if "class" not in config:
        with contextlib.suppress(_FarEnough):
            _Dry(config=config)
    grader_of(leaf)


def ask(task: Task, asked: Asked, limit: int | None, template: Any) -> list[Any]:
    """lm-eval's instances of the first `limit` items; `template` renders chats."""
    task.build_all_requests(
        limit=limit,
        system_instruction=asked.system,
        apply_chat_template=asked.chat,
        fewshot_as_multiturn=asked.chat,
        chat_template=template if asked.chat else None,
    )
    return list(task.instances)


def grader_of(leaf: Leaf) -> str | None:
    """The name of this package's grader of a task; None where lm-eval grades."""
    metadata = leaf.config.get("metadata")
    name = metadata.get("grader") if isinstance(metadata, dict) else None
    if name is not None and name not in GRADERS:
        raise RecipeError(f"`metadata.grader`: there is no {name} ({', '.join(GRADERS)})")
    return name


def _config(leaf: Leaf, asked: Asked) -> dict[str, Any]:
    """The values of its file with functions in place of their names, and as it is asked."""
    if leaf.config.get("unsafe_code"):
        raise RecipeError("it runs what a model wrote outside the sandbox; use this package's own")
    read = load_yaml(leaf.path, resolve_func=True) if leaf.path else {}
    config = read | {name: _resolved(value) for name, value in leaf.changes.items()}
    config = {name: value for name, value in config.items() if name not in _NO_CONFIG}
    config["task"] = leaf.name
    if not isinstance(config.get("metadata") or {}, dict):
        config["metadata"] = {"_metadata": config["metadata"]}
    wanted = asked.generation
    changes = {"temperature": wanted.temperature, "top_p": wanted.top_p, "until": wanted.until}
    changes = {name: value for name, value in changes.items() if value is not None}
    if wanted.temperature is not None:
        changes["do_sample"] = wanted.temperature > 0
    own = dict(config.get("generation_kwargs") or {})
    if wanted.max_tokens is not None:
        own = {name: value for name, value in own.items() if name not in _LENGTHS}
        changes["max_gen_toks"] = wanted.max_tokens
    if config.get("output_type") == "generate_until" and (own or changes):
        config["generation_kwargs"] = own | changes
    return config


def _resolved(value: Any) -> Any:
    if isinstance(value, Function):
        return _import_fun_from_str(value)
    if isinstance(value, dict):
        return {name: _resolved(inner) for name, inner in value.items()}
    return [_resolved(inner) for inner in value] if isinstance(value, list) else value


def _items(leaf: Leaf, pull: Pull, work: Path) -> Path:
    """A file with the held-out items of a task of this package."""
    where = leaf.config["metadata"]
    file = (work / f"{leaf.name}.jsonl").absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    items = load_split(pull("problems_name"), where["config"], where["split"], [], "problems_name")
    whole = file.with_suffix(f".{os.getpid()}")  # other processes of this run write it, too
    items.to_json(whole)
    whole.replace(file)
    return file
