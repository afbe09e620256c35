"""Scores over clean items: given where each item is known, and for groups of tasks as for one."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tests.tiny import save_tiny_model

from moxin_recipes.documents.contamination import FOUND, NOT_FOUND, TOO_SHORT, digest_of
from moxin_recipes.hub.splits import write_split
from moxin_recipes.recipe.keys.evaluate import Evaluation
from moxin_recipes.scores.clean_items import SearchedItems, clean_score
from moxin_recipes.scores.rows import rows_of


@pytest.fixture
def searched(tmp_path: Path) -> SearchedItems:
    """Questions `a` (found), `b` and `d` (not found), and `e` (too short), by their column."""
    statuses = {"a": FOUND, "b": NOT_FOUND, "d": NOT_FOUND, "e": TOO_SHORT}
    items = [
        {"columns": ["question"], "digest": digest_of(["question"], [text]), "status": status}
        for text, status in statuses.items()
    ]
    write_split(tmp_path / "evaluation_items", "test", items)
    return SearchedItems(tmp_path)


def samples(**right: int) -> list[dict[str, Any]]:
    return [{"doc": {"question": text, "n": 0}, "acc": acc} for text, acc in right.items()]


def test_what_cannot_be_known_is_not_given(searched: SearchedItems) -> None:
    clean = clean_score(samples(a=1, b=0, d=1, e=1), "acc", 0.75, searched)
    assert (clean.value, clean.stderr, clean.items) == (0.5, 0.5, 2)
    assert clean.note == "left out: 1 found in the corpus, 1 too short to look for"
    clean = clean_score(samples(a=1, b=0, c=1), "acc", 2 / 3, searched)
    assert (clean.value, clean.stderr, clean.items) == (None, None, None)
    assert clean.note == "not given: 1 of 3 items are in no set searched for"
    clean = clean_score(samples(a=1, b=0), "acc", 0.9, searched)
    assert (clean.value, clean.note) == (None, "not given: the score is no mean over items")
    clean = clean_score(samples(a=1), "acc", 1.0, searched)
    assert (clean.value, clean.items) == (None, 0)


def test_a_group_of_tasks_is_one_score_over_its_items(
    searched: SearchedItems, tmp_path: Path
) -> None:
    place = tmp_path / "tasks"
    place.mkdir()
    for name, questions in (("first", "abd"), ("second", "be")):
        # One choice, so any model is right; or two that are alike, of which the first is taken.
        rows = [
            {"question": text, "choices": ["x"] * (2 if text == "d" else 1)} for text in questions
        ]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = {"task": name, "dataset_path": "json", "output_type": "multiple_choice"}
        task |= {"dataset_kwargs": {"data_files": {"test": str(file)}}, "test_split": "test"}
        task |= {"doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}"}
        task |= {"doc_to_target": "{{choices | length - 1}}"}
        (place / f"{name}.yaml").write_text(yaml.safe_dump(task))
    for name, parts in (("inner", ["first", "second"]), ("both", ["inner"])):  # as mmlu is built
        group = {"group": name, "task": parts, "aggregate_metric_list": [{"metric": "acc"}]}
        (place / f"{name}.yaml").write_text(yaml.safe_dump(group))
    save_tiny_model(tmp_path / "model")
    results = simple_evaluate(
        HFLM(pretrained=str(tmp_path / "model"), device="cpu", batch_size=8),
        tasks=["both"],
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
    )
    wanted = Evaluation(task="both", model="tiny")
    (row,) = [row for row in rows_of(results, wanted, "0" * 40, searched) if row["metric"] == "acc"]
    assert (row["items"], row["value"]) == (5, 0.8)
    assert (row["clean_items"], row["clean_value"]) == (3, round(2 / 3, 4))
