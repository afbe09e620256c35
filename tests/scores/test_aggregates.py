"""Scores of items: lm-eval's numbers to the digit, an error for what nobody can aggregate."""

import json
import multiprocessing
import random
from typing import Any

import pytest
from lm_eval.api import metrics as lm_eval

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.aggregates import group_scores, scores_of

Row = dict[str, Any]


def score(aggregation: str, values: list[list[Any]], **functions: Any) -> Row:
    """The score of problems, each with its samples."""
    metric = {"metric": "x", "filter": "none", "of": "x", "aggregation": aggregation}
    rows = [
        {"doc_id": n, "filter": kind, "clean": None, "scores": json.dumps({"x": value})}
        for n, samples in enumerate(values)
        for value in samples
        for kind in ("none", "other")
    ]
    (made,) = scores_of([metric], rows, functions or None)
    return made


def test_means_are_lm_evals() -> None:
    draw = random.Random(1)
    values = [draw.random() for _ in range(57)]
    made = score("mean", [[value] for value in values])
    assert (made["value"], made["stderr"]) == (lm_eval.mean(values), lm_eval.mean_stderr(values))


def test_other_aggregations_are_lm_evals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    likely = [-1.0, -2.5, -0.5, -3.0]
    monkeypatch.setattr(multiprocessing, "Pool", None)  # a fork of a model's process may never end
    made = score("perplexity", [[value] for value in likely])
    assert made["value"] == lm_eval.perplexity(likely)
    assert made["stderr"] == lm_eval.bootstrap_stderr(lm_eval.perplexity, likely, 1000)
    assert made["low"] < made["value"] < made["high"]
    pairs = [(-3.0, 2), (-5.0, 4)]  # a file has lists, lm-eval's functions want tuples
    made = score("weighted_perplexity", [[pair] for pair in pairs])
    assert made["value"] == lm_eval.weighted_perplexity(pairs)
    assert (made["stderr"], made["low"]) == (None, None)
    capsys.readouterr()
    score("median", [[1.0], [2.0], [4.0]])
    assert capsys.readouterr().out == ""  # where `--json` goes


def test_what_nobody_can_aggregate_is_an_error() -> None:
    with pytest.raises(RecipeError, match="x: this lm-eval has no aggregation nobody"):
        score("nobody", [[1.0]])


def test_functions_of_a_task_are_left_out_where_they_are_not_there() -> None:
    metric = {"metric": "x", "filter": "none", "of": "x", "aggregation": "function"}
    assert scores_of([metric], []) == []
    assert score("function", [[1.0], [3.0]], x=max)["value"] == 3.0


def test_pass_at_k_is_over_problems() -> None:
    """All, none, and two of four samples right: 1, 0 and 1 - 1/6."""
    made = score("pass@2", [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    each = [1.0, 0.0, 5 / 6]
    assert made["value"] == pytest.approx(lm_eval.mean(each))
    assert made["stderr"] == pytest.approx(lm_eval.mean_stderr(each))


@pytest.mark.parametrize("sized", [True, False])
def test_groups_are_lm_evals(sized: bool) -> None:
    draw = random.Random(2)
    parts = []
    for size in (100, 7, 1234):
        made = score("mean", [[float(draw.random() < 0.6)] for _ in range(size)])
        parts.append({"problems": size, "scores": [made | {"metric": "acc"}]})
    values = [part["scores"][0]["value"] for part in parts]
    errors = [part["scores"][0]["stderr"] for part in parts]
    sizes = [part["problems"] for part in parts]
    (made,) = group_scores([{"metric": "acc", "weight_by_size": sized}], parts)
    assert made["value"] == lm_eval.aggregate_subtask_metrics(values, sizes, sized)
    if sized:
        assert made["stderr"] == lm_eval.pooled_sample_stderr(errors, sizes)
    else:
        assert made["stderr"] == lm_eval.unweighted_mean_stderr(errors)


def test_intervals_of_shares_stay_within_them() -> None:
    parts = [
        {"problems": 10, "scores": [score("mean", [[1.0]] * 10)]},
        {"problems": 3, "scores": [score("mean", [[1.0], [1.0], [0.0]])]},
    ]
    (made,) = group_scores([{"metric": "x"}], parts)
    assert made["value"] + 1.96 * made["stderr"] > 1
    assert made["high"] == 1.0
    whole = [{"problems": 10, "scores": [score("mean", [[1.0]] * 10)]}] * 2
    (made,) = group_scores([{"metric": "x"}], whole)
    assert made["low"] < 0.9
    assert made["high"] == 1.0
