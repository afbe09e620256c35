"""lm-eval on base, instruct and reasoning models (paper §5): scores with their standard errors.

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.evaluate --config recipes/moxin-nano/50-evaluate.yaml

Needs: the models, held-out items for the tasks of this package. Pushes: a dataset of scores, and
each score into the metadata of its model's card.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import EvalResult, metadata_update
from huggingface_hub.repocard_data import eval_results_to_model_index
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from moxin_recipes.arguments import EvaluateArguments, Evaluation
from moxin_recipes.data.chat import load_split
from moxin_recipes.data.problem_sets import write_split
from moxin_recipes.hub.pull import Parent, download
from moxin_recipes.hub.session import errors
from moxin_recipes.run import Run, clear, launch, write_json
from moxin_recipes.strict import RecipeError

logging.getLogger("lm_eval").setLevel(logging.WARNING)  # it explains itself at length
TASKS = Path(__file__).parent.parent / "tasks"
Row = dict[str, Any]


def main(run: Run) -> None:
    """Each task on its model, then the scores to the Hub."""
    own: EvaluateArguments = run.arguments
    pinned = [parent for parent in run.parents if parent.key == "models"]
    models = dict(zip(own.models, pinned, strict=True))
    rows: list[Row] = []
    for number, wanted in enumerate(own.evaluations):
        if wanted.model not in models:
            raise RecipeError(f"`evaluations.model`: {wanted.model} is not one of `models`")
        done = run.state / f"{number}.json"  # a killed stage goes on with the tasks that are left
        if not done.exists():
            write_json(done, evaluate(run, own, wanted, models[wanted.model]))
        rows += json.loads(done.read_text(encoding="utf-8"))
    folder = clear(run.folder / "hub_scores_id")
    write_split(folder, "test", rows)
    if own.push_to_hub:
        for name, parent in models.items():
            add_to_card(parent, [row for row in rows if row["model"] == name])
    metrics: dict[str, float | None] = {}
    for row in rows:
        name = "{model}/{task}/{shots}-shot{chatted}/{metric}".format(
            chatted="-chat" if row["chat"] else "", **row
        )
        metrics |= {name: row["value"], f"{name}_stderr": row["stderr"]}
    facts = {"summary": "Scores of the models of this ladder.", "metrics": metrics}
    run.finish({"hub_scores_id": (folder, facts)})


def evaluate(run: Run, own: EvaluateArguments, wanted: Evaluation, model: Parent) -> list[Row]:
    """One row for each metric of a task."""
    task, manager = task_of(run, wanted.task)
    lm = HFLM(
        pretrained=str(download(model)),
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch_size=own.eval_batch_size,
    )
    results = simple_evaluate(
        lm,
        tasks=[task],
        num_fewshot=wanted.num_fewshot,
        limit=own.limit,
        apply_chat_template=wanted.chat,
        task_manager=manager,
        random_seed=own.seed,
        log_samples=False,
        bootstrap_iters=1000,
    )
    scores = results["results"][wanted.task]
    parts = results.get("group_subtasks", {}).get(wanted.task) or [wanted.task]
    count = sum(results["n-samples"][part]["effective"] for part in parts)
    rows = []
    for name, value in scores.items():
        metric, comma, kind = name.partition(",")  # kind: the filter of the answers
        if comma and not metric.endswith("_stderr"):
            rows.append(
                {
                    "model": wanted.model,
                    "commit": model.commit,
                    "task": wanted.task,
                    "metric": metric if kind == "none" else f"{metric} ({kind})",
                    "value": _number(value),
                    "stderr": _number(scores[name.replace(",", "_stderr,")]),
                    "items": count,
                    "shots": wanted.num_fewshot,
                    "chat": wanted.chat,
                }
            )
    return rows


def _number(value: float | str) -> float | None:
    """Rounded; None where lm-eval has no number (it says "N/A")."""
    return None if isinstance(value, str) else round(float(value), 4)


def task_of(run: Run, name: str) -> tuple[str | dict[str, Any], TaskManager]:
    """A task of this package on the pulled held-out items, or the name of one of lm-eval's."""
    path = TASKS / f"{name}.yaml"
    if not path.exists():
        return name, TaskManager()
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    of = task["metadata"]
    items = load_split(run.pull("problems_name"), of["config"], of["split"], [], "problems_name")
    file = run.state / f"{name}.jsonl"
    items.to_json(file)
    task["dataset_kwargs"] = {"data_files": {"test": str(file.absolute())}}
    return task, TaskManager(include_defaults=False)


def add_to_card(model: Parent, rows: list[Row]) -> None:
    """Writes the scores into the card's metadata on main; commits and tags stay as they are."""
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=row["task"],
            dataset_name=f"{row['task']} ({row['shots']}-shot{', chat' if row['chat'] else ''})",
            metric_type=row["metric"],
            metric_value=row["value"],
            metric_args={"stderr": row["stderr"], "items": row["items"], "commit": row["commit"]},
        )
        for row in rows
    ]
    if not results:
        return
    name = model.repo.split("/")[-1]
    with errors(model.repo):
        metadata_update(
            model.repo,
            {"model-index": eval_results_to_model_index(name, results)},
            overwrite=True,
            commit_message="Scores",
        )


if __name__ == "__main__":
    launch(main)
