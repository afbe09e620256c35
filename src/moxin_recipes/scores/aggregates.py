"""Scores of a task from its items alone, and of a group from its tasks."""

import contextlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moxin_recipes.documents.contamination import FOUND, NOT_FOUND, TOO_SHORT
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.statistics import Estimate, Z, estimate, pass_at, wilson

Row = dict[str, Any]
Functions = Mapping[str, Callable[[list[Any]], Any]]
OWN = "function"  # an aggregation of a task's own, which has no name
_DRAWS = 1000  # of lm-eval's bootstrap, where a metric has no error in closed form


def scores_of(
    metrics: Sequence[Row], rows: Sequence[Row], functions: Functions | None = None
) -> list[Row]:
    """Each metric's value, error and interval over all items, and over the clean ones.

    `metrics` are a unit's; `functions` are the aggregations of the task by metric, without which
    those of its own are left out.
    """
    return [
        _score(metric, [row for row in rows if row["filter"] == metric["filter"]], functions or {})
        for metric in metrics
        if metric["aggregation"] != OWN or metric["metric"] in (functions or {})
    ]


def _score(metric: Row, rows: Sequence[Row], functions: Functions) -> Row:
    values = _values(metric, rows)
    whole = _estimate(metric, values, functions)
    return {
        "metric": metric["metric"],
        "filter": metric["filter"],
        **_as_row(whole),
        **clean(metric, rows),
    }


def _as_row(made: Estimate) -> Row:
    """Its numbers; what is no number (a mean of nothing) is null."""
    numbers = {"value": made.value, "stderr": made.stderr, "low": made.low, "high": made.high}
    return {k: None if v is None or not math.isfinite(v) else v for k, v in numbers.items()}


def _values(metric: Row, rows: Sequence[Row]) -> dict[int, list[Any]]:
    """The samples of each document."""
    values: dict[int, list[Any]] = {}
    for row in rows:
        scores = json.loads(row["scores"])
        if metric["of"] in scores:
            value = scores[metric["of"]]
            values.setdefault(row["doc_id"], []).append(
                tuple(value) if isinstance(value, list) else value
            )
    return values


def _estimate(metric: Row, values: dict[int, list[Any]], functions: Functions) -> Estimate:
    name = metric["aggregation"]
    if name == "mean":
        return estimate(list(values.values()))
    if name.startswith("pass@"):
        k = int(name.removeprefix("pass@"))
        return estimate([[pass_at(k, len(v), sum(x > 0 for x in v))] for v in values.values()])
    return _of_lm_eval(name, metric["metric"], [x for v in values.values() for x in v], functions)


def _of_lm_eval(name: str, metric: str, values: list[Any], functions: Functions) -> Estimate:
    """An aggregation of lm-eval, or of a task: its error by lm-eval's bootstrap if it has one."""
    from lm_eval.api.metrics import stderr_for_metric
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    if name != OWN and name not in AGGREGATION_REGISTRY:
        raise RecipeError(f"{metric}: this lm-eval has no aggregation {name}")
    function = functions[metric] if name == OWN else AGGREGATION_REGISTRY[name]
    value = float(function(values))
    # Else lm-eval forks this process, with its threads and its GPU, once for each CPU.
    os.environ["DISABLE_MULTIPROC"] = "1"
    error = stderr_for_metric(function, _DRAWS) if len(values) > 1 else None
    said = io.StringIO()  # that it draws
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        stderr = float(error(values)) if error else None
    if stderr is None or math.isnan(stderr):
        return Estimate(value, None, None, None)
    return Estimate(value, stderr, value - Z * stderr, value + Z * stderr)


def clean(metric: Row, rows: Sequence[Row]) -> Row:
    """The score over items that were looked for and not found; `clean_note` says why there is none.

    There is none if it is no mean, or if a single item is in no set of the search.
    """
    if all(row["clean"] is None for row in rows):
        return _clean(
            None, None, "not given: no `corpus_name`, or none of the items in a set searched for"
        )
    if metric["aggregation"] != "mean":
        return _clean(None, None, "not given: the score is no mean over items")
    statuses = {row["doc_id"]: row["clean"] for row in rows}
    counts = Counter(statuses.values())
    if counts[None]:
        note = f"not given: {counts[None]} of {len(statuses)} items are in no set searched for"
        return _clean(None, None, note)
    kept = [v for doc, v in _values(metric, rows).items() if statuses[doc] == NOT_FOUND]
    note = f"left out: {counts[FOUND]} found in the corpus, {counts[TOO_SHORT]} {TOO_SHORT}"
    return _clean(estimate(kept) if kept else None, len(kept), note)


def _clean(made: Estimate | None, count: int | None, note: str) -> Row:
    return {
        "clean_value": made.value if made else None,
        "clean_stderr": made.stderr if made else None,
        "clean_items": count,
        "clean_note": note,
    }


def group_scores(aggregates: Sequence[Row], parts: Sequence[Row]) -> list[Row]:
    """The scores of a group of units by `aggregate_metric_list` of its file, as lm-eval gives them.

    The error is pooled where tasks weigh by their size; it leaves out differences between tasks.
    """
    found = []
    for wanted in aggregates:
        kinds = wanted.get("filter_list")
        scores = [(unit, score) for unit in parts for score in unit["scores"]]
        of_metric = [(u, s) for u, s in scores if s["metric"] == wanted["metric"]]
        named = dict.fromkeys(score["filter"] for _, score in of_metric)
        for kind in [kinds] if isinstance(kinds, str) else kinds or list(named):
            of_kind = [(unit, score) for unit, score in of_metric if score["filter"] == kind]
            if of_kind:
                sized = wanted.get("weight_by_size", True)
                whole = _group(of_kind, sized)
                found.append({"metric": wanted["metric"], "filter": kind, **_as_row(whole)})
    return found


def _group(parts: Sequence[tuple[Row, Row]], sized: bool) -> Estimate:
    sizes = [unit["problems"] for unit, _ in parts]
    weights = sizes if sized else [1] * len(parts)
    values, errors = [s["value"] for _, s in parts], [s["stderr"] for _, s in parts]
    value = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    if any(error is None for error in errors):
        return Estimate(value, None, None, None)
    total = sum(sizes)
    if sized and total > len(sizes):
        squares = [(n - 1) * e**2 * n for n, e in zip(sizes, errors, strict=True)]
        stderr = math.sqrt(sum(squares) / (total - len(sizes)) / total)
    else:
        stderr = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    if not stderr and 0 <= value <= 1:
        return Estimate(value, stderr, *wilson(value, total))
    low, high = value - Z * stderr, value + Z * stderr
    if all(s["low"] >= 0 and s["high"] <= 1 for _, s in parts):
        low, high = max(0.0, low), min(1.0, high)
    return Estimate(value, stderr, low, high)
