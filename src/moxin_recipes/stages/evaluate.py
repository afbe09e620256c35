"""lm-eval on base, instruct and reasoning models (paper §5): scores with their standard errors.

With `corpus_name` each score is given twice: over all items, and over those that decontamination
looked for in the corpus and did not find.

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.evaluate --config recipes/moxin-nano/50-evaluate.yaml

Needs: the models, held-out items for the tasks of this package, the corpus. Pushes: a dataset of
scores, and each score into the metadata of its model's card.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import EvalResult, metadata_update
from huggingface_hub.repocard_data import eval_results_to_model_index
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from moxin_recipes.chats.template import load_split
from moxin_recipes.hub.pull import Parent, download
from moxin_recipes.hub.session import errors
from moxin_recipes.problems.sets import write_split
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys, Evaluation
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, clear, launch, write_json
from moxin_recipes.scores import clean_items
from moxin_recipes.scores.clean_items import Clean, SearchedItems

logging.getLogger("lm_eval").setLevel(logging.WARNING)  # it explains itself at length
TASKS = Path(__file__).parent.parent / "scores" / "tasks"
Row = dict[str, Any]


def main(run: Run[EvaluateKeys, None]) -> None:
    """Each task on its model, then the scores to the Hub."""
    own = run.keys
    pinned = [parent for parent in run.parents if parent.key == "models"]
    models = dict(zip(own.models, pinned, strict=True))
    searched = searched_items(run, own)
    rows: list[Row] = []
    for number, wanted in enumerate(own.evaluations):
        if wanted.model not in models:
            raise RecipeError(f"`evaluations.model`: {wanted.model} is not one of `models`")
        done = run.state / f"{number}.json"  # a killed stage goes on with the tasks that are left
        if not done.exists():
            write_json(done, evaluate(run, wanted, models[wanted.model], searched))
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
        if row["clean_value"] is not None:
            metrics |= {f"{name}_clean": row["clean_value"]}
            metrics |= {f"{name}_clean_stderr": row["clean_stderr"]}
    facts = {"summary": "Scores of the models of this ladder.", "metrics": metrics}
    run.finish({"hub_scores_id": (folder, facts)})


def evaluate(
    run: Run[EvaluateKeys, None], wanted: Evaluation, model: Parent, searched: SearchedItems | None
) -> list[Row]:
    """One row for each metric of a task."""
    own = run.keys
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
        log_samples=searched is not None,
        bootstrap_iters=1000,
    )
    return rows_of(results, wanted, model.commit, searched)


def searched_items(run: Run[EvaluateKeys, None], own: EvaluateKeys) -> SearchedItems | None:
    """The items that the corpus was searched for; None where the recipe names no corpus."""
    if own.corpus_name is None:
        return None
    folder = run.pull("corpus_name", [f"{clean_items.CONFIG}/*"])
    if not (folder / clean_items.CONFIG).exists():
        raise RecipeError(
            f"`corpus_name`: {own.corpus_name} has no `{clean_items.CONFIG}`; it was made without "
            "`decontaminate`, or before there were any: leave the key out, or make it again"
        )
    return SearchedItems(folder)


def rows_of(
    results: dict[str, Any], wanted: Evaluation, commit: str, searched: SearchedItems | None
) -> list[Row]:
    """lm-eval's results of one task, or of one group of tasks, as a row for each metric."""
    scores = results["results"][wanted.task]
    count = sum(part["effective"] for part in results["n-samples"].values())
    samples = [sample for part in results.get("samples", {}).values() for sample in part]
    rows = []
    for name, value in scores.items():
        metric, comma, kind = name.partition(",")  # kind: the filter of the answers
        if comma and not metric.endswith("_stderr"):
            clean = Clean(None, None, None, "not given: the recipe names no `corpus_name`")
            if searched:
                of_kind = [sample for sample in samples if sample["filter"] == kind]
                clean = clean_items.clean_score(of_kind, metric, value, searched)
            rows.append(
                {
                    "model": wanted.model,
                    "commit": commit,
                    "task": wanted.task,
                    "metric": metric if kind == "none" else f"{metric} ({kind})",
                    "value": _number(value),
                    "stderr": _number(scores[name.replace(",", "_stderr,")]),
                    "items": count,
                    "shots": wanted.num_fewshot,
                    "chat": wanted.chat,
                    "clean_value": _number(clean.value),
                    "clean_stderr": _number(clean.stderr),
                    "clean_items": clean.items,
                    "clean_note": clean.note,
                }
            )
    return rows


def _number(value: float | str | None) -> float | None:
    """Rounded; None where there is no number (lm-eval says "N/A")."""
    return None if value is None or isinstance(value, str) else round(float(value), 4)


def task_of(run: Run[EvaluateKeys, None], name: str) -> tuple[str | dict[str, Any], TaskManager]:
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
            dataset_name=f"{row['task']} ({asked})",
            dataset_config=asked,  # or the card would mix up two of one task
            metric_type=row["metric"],
            metric_value=value,
            metric_args=more,
        )
        for row in rows
        for asked, value, more in _both(row)
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


def _both(row: Row) -> Iterator[tuple[str, float, Row]]:
    """(how it was asked, value, more) of a score over all items, and of the clean one if given."""
    asked = f"{row['shots']}-shot{', chat' if row['chat'] else ''}"
    more = {"stderr": row["stderr"], "items": row["items"], "commit": row["commit"]}
    yield asked, row["value"], {**more, "clean items": row["clean_note"]}
    if row["clean_value"] is not None:
        more |= {"stderr": row["clean_stderr"], "items": row["clean_items"]}
        yield f"{asked}, clean items", row["clean_value"], more


if __name__ == "__main__":
    launch(main, EvaluateKeys)
