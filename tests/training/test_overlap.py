"""`decontaminate` in post-training: rows with evaluation items are left out, listed, counted."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from tests.tiny import turns
from tests.training.conftest import Tiny

from moxin_recipes.problems.rows import Problems
from moxin_recipes.ranks import Ranks
from moxin_recipes.recipe.evaluation_sets import EvaluationSet
from moxin_recipes.recipe.fields import defaults
from moxin_recipes.recipe.keys.dpo import DpoKeys
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.stages import dpo, sft
from moxin_recipes.training.post_training import PostTraining

QUIZ = [
    {"question": "How many of the seven red apples are left?", "answers": ["two", "three"]},
    {"question": "What is the capital of France?", "answers": ["Paris"]},
    {"question": "Why?", "answers": ["because"]},
]
FRUIT, CAPITAL = (row["question"] for row in QUIZ[:2])
HELD = "contaminated: quiz (8-gram)", "contaminated: quiz (whole)"
USUAL = {**defaults(SftKeys), **defaults(DpoKeys)}
SETS = [EvaluationSet(name="quiz", dataset="some/quiz", columns=["question", "answers"])]


def job(tiny: Tiny, folder: Path, rows: list[dict[str, Any]], **keys: Any) -> Any:
    """A launch whose data set has `rows` in each of two splits, and whose evaluation set is QUIZ.

    What it would push stands in `pushed`.
    """
    for name, files in (("rows", ("train", "test")), ("quiz", ("test",))):
        (folder / name).mkdir()
        for split in files:
            lines = [json.dumps(row) for row in (rows if name == "rows" else QUIZ)]
            (folder / name / f"{split}.jsonl").write_text("\n".join(lines))
    folders = {"model_name_or_path": tiny.folder, "dataset_name": folder / "rows"}
    pushed: dict[str, Any] = {}
    (folder / "out").mkdir()
    return SimpleNamespace(
        keys=SimpleNamespace(
            **{
                **USUAL,
                "dataset_name": "some/rows",
                "dataset_test_split": "test",
                "global_batch_size": 1,
                "seed": 0,
                "decontaminate": SETS,
                **keys,
            }
        ),
        args=SimpleNamespace(max_length=64, num_train_epochs=1, dataset_num_proc=None),
        pull=(folders | {"decontaminate[0]": folder / "quiz"}).__getitem__,
        ranks=Ranks(),
        state=folder / "state",
        folder=folder / "out",
        is_main=True,
        recipe=SimpleNamespace(name="30-sft"),
        pushed=pushed,
        finish=pushed.update,
    )


CHATS = [
    turns("how many?", "12"),
    turns(f"Tell me: {FRUIT.lower()}", "13"),
    turns("how many?", f"I ask you, {FRUIT}"),
    turns("how many?", "12", CAPITAL, "13"),
    turns("how many are left?", "13"),
    turns(FRUIT, ""),
]


def test_chats_are_left_out_listed_and_counted(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = job(tiny, tmp_path, [{"messages": chat, "id": "x"} for chat in CHATS])
    tuning = PostTraining(run)
    rows = sft.packed_chats(run, tuning)
    assert rows.left_out().to_dict() == {
        "chat": [1, 2, 3, 5],
        "reason": [HELD[0], HELD[0], HELD[1], HELD[0]],
    }
    assert rows.counts == {
        "chats": 6,
        "left out (contaminated: quiz (8-gram))": 3,
        "left out (contaminated: quiz (whole))": 1,
    }
    read, said, loud = caplog.messages
    assert read == "`dataset_name`: chats are read from `messages`; not read: id"
    assert said == (
        "`decontaminate`: 4 of 6 chats hold items of evaluation sets and are left out: quiz 4"
    )
    assert "3 contaminated: quiz (8-gram), 1 contaminated: quiz (whole); `decontaminate`" in loud
    tuning.push({"counts": rows.counts}, "Fine-tuned", left_out=rows.left_out())
    (folder, facts) = run.pushed["hub_model_id"]
    (report,) = facts["contamination"]
    assert (report["source"], report["set"], report["documents"]) == ("some/rows", "quiz", 4)
    assert (report["found_items"], report["items"], report["too_short"]) == (2, 3, 1)
    assert pq.read_table(folder / "left_out.parquet").num_rows == 4
    listed = pq.read_table(folder / "contaminated.parquet").to_pylist()
    assert [(row["chat"], row["item"], row["rule"]) for row in listed] == [
        (1, "default/test/0", "8-gram"),
        (2, "default/test/0", "8-gram"),
        (3, "default/test/1", "whole"),
        (5, "default/test/0", "8-gram"),
    ]


def test_without_sets_nothing_is_searched_or_reported(tiny: Tiny, tmp_path: Path) -> None:
    run = job(tiny, tmp_path, [{"messages": chat} for chat in CHATS], decontaminate=[])
    tuning = PostTraining(run)
    assert sft.packed_chats(run, tuning).counts == {"chats": 6, "left out (empty turn)": 1}
    tuning.push({}, "Fine-tuned")
    (folder, facts) = run.pushed["hub_model_id"]
    assert "contamination" not in facts
    assert not list(folder.iterdir())
    assert not (run.state / "contamination").exists()


def test_chats_that_all_hold_items_are_refused_by_the_key(tiny: Tiny, tmp_path: Path) -> None:
    run = job(tiny, tmp_path, [{"messages": CHATS[1]}, {"messages": CHATS[3]}])
    with pytest.raises(RecipeError, match=r"^`decontaminate`: no chat .* 2 of 2 chats are left"):
        sft.packed_chats(run, PostTraining(run))


def test_pairs_to_train_on_are_left_out_and_those_to_score_stay(tiny: Tiny, tmp_path: Path) -> None:
    rows = [
        {"chosen": turns("how many?", "12"), "rejected": turns("how many?", "13")},
        {"chosen": turns("how many?", "12"), "rejected": turns("how many?", FRUIT)},
        {"chosen": turns("how many?", FRUIT), "rejected": turns("how many?", "13")},
        {"chosen": turns(CAPITAL, "12"), "rejected": turns(CAPITAL, "13")},
        {"chosen": turns("how many left?", "12"), "rejected": turns("how many left?", "13")},
    ]
    run = job(tiny, tmp_path, rows)
    tuning = PostTraining(run)
    pairs = dpo.read_pairs(run, tuning, "train")
    tests = dpo.read_pairs(run, tuning, "test")
    assert pairs.usable()["pair"][:] == [0, 4]
    assert pairs.left_out().to_dict() == {"pair": [1, 2, 3], "reason": [HELD[0], HELD[0], HELD[1]]}
    assert pairs.counts["left out (contaminated: quiz (8-gram))"] == 2
    assert tests.usable()["pair"][:] == [0, 1, 2, 3, 4]
    tuning.push({}, "Tuned", left_out=pairs.left_out())
    (folder, facts) = run.pushed["hub_model_id"]
    assert [row["documents"] for row in facts["contamination"]] == [3]
    assert pq.read_table(folder / "contaminated.parquet")["pair"].to_pylist() == [1, 2, 3]


def test_problems_are_left_out_and_said_loudly(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [FRUIT, "12 or 13?", CAPITAL, "how many of the seven apples?", f"So: {FRUIT}"]
    rows = [{"problem": text, "answer": "12"} for text in texts]
    run = job(tiny, tmp_path, rows)
    tuning = PostTraining(run)
    read = tuning.rows(["problem", "answer"])
    reasons = tuning.excluded(read, "problem")
    assert list(reasons) == [HELD[0], "", HELD[1], "", HELD[0]]
    problems = Problems(read, ("problem", "answer"), "dataset_name")
    problems.leave_out(reasons)
    assert problems.usable()["problem"][:] == [texts[1], texts[3]]
    assert problems.left_out()["problem"][:] == [0, 2, 4]
    caplog.clear()
    problems.warn()
    (line,) = caplog.messages
    assert line.startswith("3 of 5 problems are left out: 2 contaminated: quiz (8-gram), 1 contam")
    assert f"; `decontaminate` decides on most of them; such as “{FRUIT}" in line
    alone = Problems(read.select([0, 2]), ("problem", "answer"), "dataset_name")
    alone.leave_out(())
    assert len(alone.usable()) == 2
    with pytest.raises(RecipeError, match=r"none of its 2 problems can be used; .*`decontaminate`"):
        alone.leave_out([reasons[0], reasons[2]])


def test_a_set_without_the_column_is_named(tiny: Tiny, tmp_path: Path) -> None:
    wrong = EvaluationSet(name="quiz", dataset="some/quiz", columns=["query"])
    run = job(tiny, tmp_path, [{"messages": CHATS[0]}], decontaminate=[wrong])
    with pytest.raises(RecipeError, match=r"^`decontaminate\[0\]`: the dataset has no column"):
        PostTraining(run).excluded(Dataset.from_list([{"messages": CHATS[0]}]), "chat")
