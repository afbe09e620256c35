"""`model-index`: scores in the metadata of a model's card, for readers of cards."""

from typing import Any

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from moxin_recipes.hub.cards.tables import Unit, asked, named, scores_of

_CLEAN = ("value", "stderr", "items")  # over the items that the training data do not hold
_MARK = {"items", "commit"}  # in the args of the metrics of model-index that are ours


def model_index(before: list[dict[str, Any]], units: list[Unit], name: str) -> list[dict[str, Any]]:
    """What others entered in `before`, then the units' scores, under the name of the model."""
    index = []
    for entry in before:
        others = [rest for result in entry["results"] if (rest := _of_others(result))]
        if others:
            index.append({**entry, "results": others})
    ours = [result for unit in units for result in _results(unit, name)]
    for entry in index:
        if entry["name"] == name:
            entry["results"] += ours
            return index
    return [*index, {"name": name, "results": ours}] if ours else index


def first_scored(units: list[Unit], before: list[dict[str, Any]]) -> list[Unit]:
    """The units with the commit that `before` has for them, if it does.

    Scores move main. A later run finds the same weights at another commit; the first one stays.
    """
    known = {
        str(args["unit"]): str(args["commit"])
        for entry in before
        for result in entry["results"]
        for metric in result["metrics"]
        if isinstance(args := metric.get("args"), dict) and args.keys() >= {"unit", *_MARK}
    }
    return [{**unit, "commit": known.get(_short(unit), unit["commit"])} for unit in units]


def _short(unit: Unit) -> str:
    """As the rows of a unit's items name it."""
    return str(unit["key"][:12])


def _of_others(result: dict[str, Any]) -> dict[str, Any] | None:
    """A result without the metrics that are ours."""
    metrics = [m for m in result["metrics"] if not set(m.get("args") or ()) >= _MARK]
    return {**result, "metrics": metrics} if metrics else None


def _results(unit: Unit, name: str) -> list[dict[str, Any]]:
    """The unit's part of a model-index: one task on one dataset, with all metrics."""
    dataset = unit["settings"]["dataset"]
    how = asked(unit["settings"])
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset["path"] or unit["task"],
            dataset_name=", ".join(part for part in (unit["task"], how) if part),
            dataset_config=dataset["config"],
            dataset_split=dataset["split"],
            dataset_revision=dataset["commit"],
            metric_type=score["metric"],
            metric_name=f"{unit['task']}: {named(score)}",
            metric_value=score["value"],
            metric_args={
                "stderr": score["stderr"],
                "interval": None if score["low"] is None else [score["low"], score["high"]],
                "items": unit["problems"],
                "commit": unit["commit"],
                "unit": _short(unit),
                "asked": how or None,
                **{f"clean {name}": score.get(f"clean_{name}") for name in _CLEAN},
            },
        )
        for score in scores_of(unit)
    ]
    if not results:
        return []
    found: list[dict[str, Any]] = eval_results_to_model_index(name, results)[0]["results"]
    return found
