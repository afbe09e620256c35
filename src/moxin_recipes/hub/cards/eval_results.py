"""`.eval_results/*.yaml`: scores as the Hub and its benchmarks' leaderboards read them.

The form: https://huggingface.co/docs/hub/eval-results
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from moxin_recipes.hub.cards.tables import Unit, asked, interval, named, scores_of
from moxin_recipes.hub.manifest import EVAL_RESULTS
from moxin_recipes.hub.pull import read_text
from moxin_recipes.hub.session import MissingError

OURS = "moxin-"  # files of .eval_results that begin so


def eval_results(units: list[Unit]) -> dict[str, str]:
    """Path → YAML, a file for each task whose dataset is a pinned benchmark.

    An entry has the task's first metric and no date: the Hub takes the commit's.
    """
    files: dict[str, list[EvalResultEntry]] = {}
    tasks = cache(_tasks)
    for unit in units:
        dataset = unit["settings"]["dataset"]
        score = next(scores_of(unit), None)
        if score is None or not (dataset.get("benchmark") and dataset.get("commit")):
            continue
        task_id = _task_id(unit, tasks(dataset["path"]))
        if task_id is None:
            continue
        name = re.sub(r"[^\w.-]+", "-", unit["task"])
        files.setdefault(f"{EVAL_RESULTS}/{OURS}{name}.yaml", []).append(
            EvalResultEntry(
                dataset_id=dataset["path"],
                task_id=task_id,
                value=score["value"],
                dataset_revision=dataset["commit"],
                notes=", ".join(part for part in _notes(unit, score) if part),
            )
        )
    return {
        path: yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
        for path, entries in files.items()
    }


def _task_id(unit: Unit, tasks: list[Any] | None) -> str | None:
    """What the benchmark calls the task on this config and split; None where it has none there.

    A dataset without a list of tasks has no leaderboard: the name is lm-eval's.
    """
    if tasks is None:
        return str(unit["task"])
    dataset = unit["settings"]["dataset"]
    asked_for = (dataset["config"] or "default", dataset["split"])
    fits = {
        str(task["id"])
        for task in tasks
        if isinstance(task, dict)
        and "id" in task
        and (task.get("config") or "default", task.get("split") or "test") == asked_for
    }
    return unit["task"] if unit["task"] in fits else fits.pop() if len(fits) == 1 else None


def _tasks(repo: str) -> list[Any] | None:
    """The tasks of a benchmark, as its `eval.yaml` has them today; None where it has none."""
    try:
        text = read_text(repo, "dataset", "main", "eval.yaml")
        tasks = None if text is None else yaml.safe_load(text)["tasks"]
    except MissingError:
        return None
    except (KeyError, TypeError, ValueError, yaml.YAMLError):
        return []
    return tasks if isinstance(tasks, list | None) else []


def _notes(unit: Unit, score: dict[str, Any]) -> Iterator[str]:
    yield f"{unit['task']}: {named(score)}"
    yield asked(unit["settings"])
    yield f"{unit['problems']} items"
    if score["low"] is not None:
        yield f"95 % interval {interval(score['low'], score['high'])}"
    yield f"lm-eval {unit['settings']['lm_eval']}"
