"""Scores before and after each stage: alike stands beside alike, and nothing else does."""

from typing import Any

import pytest

from moxin_recipes.hub.ancestry import Link
from moxin_recipes.scores.before_after import of_line


def tuned(name: str, right: list[float], **more: Any) -> Link:
    recipe = {"eval_split": "test", "answer_format": "plain", "eval_samples": 1}
    made = {
        "recipe_name": name,
        "stage": "sft",
        "recipe": {**recipe, **more.pop("recipe", {})},
        "items": {"accuracy": right},
        "metrics": {},
        "parents": [{"key": "problems_name", "payload": more.pop("payload", "p")}],
    }
    return Link("local/m-" + name, name, {**made, **more})


def changes(line: list[Link], *tables: Any) -> list[tuple[Any, ...]]:
    return [
        (
            row["stage"],
            row["since"],
            row["before"] and row["before"]["value"],
            row["after"]["value"],
        )
        for row in of_line(line, tables)
    ]


def test_before_is_the_nearest_model_that_was_asked_the_same() -> None:
    line = [
        tuned("a", [0, 0, 0, 1]),
        tuned("b", [1, 1, 0, 1]),
        tuned("c", [1, 1, 1, 1], payload="other problems"),
        tuned("d", [0, 1, 0, 1]),
    ]
    assert changes(line) == [
        ("a", None, None, 0.25),
        ("b", "a", 0.25, 0.75),
        ("c", None, None, 1.0),
        ("d", "b", 0.75, 0.5),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"eval_split": "longer"},
        {"answer_format": "chain"},
        {"eval_samples": 8},
    ],
)
def test_what_was_asked_otherwise_is_no_before(change: dict[str, Any]) -> None:
    line = [tuned("a", [0, 1]), tuned("b", [1, 1], recipe=change)]
    assert changes(line)[1] == ("b", None, None, 1.0)


def test_more_items_are_another_question() -> None:
    assert changes([tuned("a", [0, 1]), tuned("b", [1, 1, 1])])[1][1] is None


def test_intervals_and_names() -> None:
    samples = {"eval_samples": 4, "answer_format": "chain", "longer_split": "far"}
    items = {"accuracy": [0.0] * 12, "longer_accuracy": [0.25, 0.5, 1.0]}
    link = tuned("a", [], items=items, recipe=samples)
    link.manifest["metrics"] = {"preference_accuracy": 0.9}
    assert of_line([link], [])[0]["after"] == {"value": 0.9, "low": None, "high": None}
    link.manifest["metrics"]["preference_accuracy_stderr"] = 0.1
    rows = of_line([link], [])
    assert [(row["measure"], row["items"]) for row in rows] == [
        ("preference accuracy", None),
        ("accuracy on `test` (chains of thought, mean of 4 samples)", 12),
        ("accuracy on `far` (chains of thought, mean of 4 samples)", 3),
    ]
    preference, none, some = (row["after"] for row in rows)
    assert (preference["low"], preference["high"]) == (pytest.approx(0.704, abs=1e-3), 1.0)
    assert (none["value"], none["low"], none["high"]) == (0, 0, pytest.approx(0.2425, abs=1e-4))
    assert some["low"] < some["value"] < some["high"] <= 1


def phase(name: str, bits: float, context: int = 256, payload: str = "t") -> Link:
    made = {
        "recipe_name": name,
        "metrics": {"bits_per_byte": bits},
        "recipe": {"eval_context_length": context},
        "parents": [{"key": "dataset_name", "payload": payload}],
    }
    return Link("local/base", name, made)


def test_bits_per_byte_are_of_one_text_at_one_context() -> None:
    line = [phase("a", 3.0), phase("b", 2.0), phase("c", 1.5, 512), phase("d", 1.0, payload="u")]
    assert [row[1] for row in changes(line)] == [None, "a", None, None]


def test_tables_of_scores_count_for_the_models_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moxin_recipes.scores.before_after.qualified", lambda name: f"local/{name}")
    line = [phase("a", 3.0), tuned("b", []), Link("else/foreign", "main", {})]
    score = {"task": "sums", "metric": "acc", "shots": 5, "items": 40, "low": 0.1, "high": 0.3}
    table = [
        {**score, "model": "base@a", "value": 0.2},
        {**score, "model": "m-b@b", "value": 0.4},
        {**score, "model": "m-b@b", "value": 0.9, "shots": 0},
        {**score, "model": "m-b@b", "value": None, "failed": "no room"},
        {**score, "model": "m-elsewhere@b", "value": 0.8},
    ]
    rows = of_line(line, [table])
    assert [(row["measure"], row["since"]) for row in rows] == [
        ("bits per byte (lower is better)", None),
        ("sums: acc, 5-shot", None),
        ("sums: acc, 5-shot", "a"),
        ("sums: acc, 0-shot", None),
    ]
    assert rows[2]["before"] == {"value": 0.2, "low": 0.1, "high": 0.3}
    assert rows[2]["items"] == 40
