"""Scores over clean items: given where each item is known, and for groups of tasks as for one."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Workplace
from tests.scores.conftest import evaluate, push_code, table
from tests.scores.written import moxin
from tests.test_ladder import python

from moxin_recipes.documents.contamination import FOUND, NOT_FOUND, TOO_SHORT, digest_of
from moxin_recipes.hub.splits import write_split
from moxin_recipes.scores.aggregates import clean
from moxin_recipes.scores.clean_items import SearchedItems

MEAN = {"metric": "acc", "of": "acc", "filter": "none", "aggregation": "mean"}
STATUSES = {"a": FOUND, "b": NOT_FOUND, "d": NOT_FOUND, "e": TOO_SHORT}


def searched_items(folder: Path) -> Path:
    """Questions `a` (found), `b` and `d` (not found), and `e` (too short), by their column."""
    items = [
        {"columns": ["question"], "digest": digest_of(["question"], [text]), "status": status}
        for text, status in STATUSES.items()
    ]
    write_split(folder / "evaluation_items", "test", items)
    return folder


def rows(searched: SearchedItems, **right: int) -> list[dict[str, Any]]:
    return [
        {"doc_id": n, "clean": searched.status({"question": x}), "scores": json.dumps({"acc": v})}
        for n, (x, v) in enumerate(right.items())
    ]


def test_what_cannot_be_known_is_not_given(tmp_path: Path) -> None:
    searched = SearchedItems(searched_items(tmp_path))
    made = clean(MEAN, rows(searched, a=1, b=0, d=1, e=1))
    assert (made["clean_value"], made["clean_stderr"], made["clean_items"]) == (0.5, 0.5, 2)
    assert made["clean_note"] == "left out: 1 found in the corpus, 1 too short to look for"
    made = clean(MEAN, rows(searched, a=1, b=0, c=1))
    assert (made["clean_value"], made["clean_stderr"], made["clean_items"]) == (None, None, None)
    assert made["clean_note"] == "not given: 1 of 3 items are in no set searched for"
    made = clean(MEAN | {"aggregation": "f1"}, rows(searched, a=1, b=0))
    assert made["clean_note"] == "not given: the score is no mean over items"
    made = clean(MEAN, rows(searched, a=1))
    assert (made["clean_value"], made["clean_items"]) == (None, 0)


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A file of a group in a group, as mmlu is built, of two tasks of three and two items."""
    parts = []
    for name, questions in (("first", "abd"), ("second", "be")):
        # One choice, so any model is right; or two that are alike, of which the first is taken.
        items = [{"question": x, "choices": ["x"] * (2 if x == "d" else 1)} for x in questions]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in items))
        task = {"task": name, "dataset_path": "json", "output_type": "multiple_choice"}
        task |= {"dataset_kwargs": {"data_files": {"test": str(file)}}, "test_split": "test"}
        task |= {"doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}"}
        parts.append(task | {"doc_to_target": "{{choices | length - 1}}"})
    scored = {"aggregate_metric_list": [{"metric": "acc"}]}
    whole = {"group": "both", "task": [{"group": "inner", "task": parts, **scored}], **scored}
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def test_a_group_of_tasks_is_one_score_over_its_items(
    bench: Workplace, group: Path, tmp_path: Path
) -> None:
    made = searched_items(tmp_path / "made" / "corpus")
    code = f"""
api.create_repo("corpus", repo_type="dataset")
api.upload_folder(repo_id="local/corpus", folder_path={str(made)!r}, repo_type="dataset")
"""
    python(bench, push_code(tmp_path) + code)
    asked = [{"task": str(group), "model": "someone/plain"}]
    exit_code, said, _ = evaluate(bench, asked, hub_scores_id="both", corpus_name="corpus")
    assert exit_code == 0, said
    again = moxin(bench, "scores", "both")
    assert again.returncode == 0, again.stderr
    found = {row["task"]: row for row in table(bench, "both") if row["metric"] == "acc"}
    for name in ("both", "both::inner"):
        row = found[name]
        assert (row["items"], row["value"]) == (5, 0.8)
        assert (row["clean_items"], row["clean_value"]) == (3, pytest.approx(2 / 3))
