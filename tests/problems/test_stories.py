"""Word problems: what is told is what is computed, and held-out numbers are in no training row."""

import random
import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from moxin_recipes import rewards
from moxin_recipes.problems import arithmetic, arithmetic_rows, sets, stories
from moxin_recipes.problems.arithmetic import Problem
from moxin_recipes.recipe.keys.data import DataKeys, Source
from moxin_recipes.recipe.strict import RecipeError


def told(question: str) -> int:
    """The answer, read from the sentences without the code under test."""
    *sentences, ask = question.split(". ")
    name = sentences[0].split()[0]
    assert ask.endswith(f" does {name} have now?")
    total = 0
    for sentence in sentences:
        numbers = [int(number) for number in re.findall(r"\d+", sentence)]
        away = sentence.startswith((f"{name} gives", f"{name} loses", f"{name} sells"))
        change = numbers[0] * (numbers[1] if len(numbers) > 1 else 1)
        total += -change if away else change
    return total


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_story_says_what_the_expression_computes(steps: int) -> None:
    for problem in arithmetic.problems("train", 5, 300, (steps,), stories.draw):
        assert told(problem.question) == int(problem.answer)
        assert problem.steps == steps
        assert all(0 <= total <= stories.MOST for total in accumulate(problem.values))
        lines = arithmetic.running_totals(problem)
        assert len(lines) == steps
        for line in lines:
            a, sign, b, result = re.fullmatch(r"(\d+)([*+-])(\d+)=(\d+)", line).groups()  # type: ignore[union-attr]
            right = {"*": int(a) * int(b), "+": int(a) + int(b), "-": int(a) - int(b)}[sign]
            assert int(result) == right
        assert lines[-1].endswith(f"={problem.answer}")
        assert arithmetic.wrong(problem, random.Random(0)) != problem.answer


def test_a_split_knows_no_order_of_terms_or_factors() -> None:
    story, other = Problem("3*8-2*6+5", ""), Problem("5+8*3-6*2", "another story")
    assert story.canonical == other.canonical
    assert story.canonical != Problem("3*8+2*6-5", "").canonical
    assert Problem("24+3*8", "").canonical == Problem("3*8+24", "").canonical  # terms of one value


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(Dataset.from_parquet(str(folder / f"{name}.parquet")))


def test_no_held_out_numbers_are_in_a_training_row(tmp_path: Path) -> None:
    keys = DataKeys(
        stage="data",
        problem_kind="stories",
        hub_problems_id="p",
        chat_rows=800,
        preference_rows=300,
        problem_rows=400,
        rl_rows=200,
        test_rows=200,
        chain_steps=[2, 3],
        rl_steps=[2, 3],
    )
    sets.chat(tmp_path / "chat", keys)
    sets.preferences(tmp_path / "preferences", keys)
    sets.problems(tmp_path / "sets", keys)
    sums = {
        name: {Problem(row["expression"], "").canonical for row in rows(tmp_path, place)}
        for name, place in {
            name: f"sets/problems/{name}" for name in ("train", "rl", "test", "one_step")
        }.items()
    }
    equations = [row["messages"][1]["content"] for row in rows(tmp_path, "chat/train")]
    equations += [row["chosen"][0]["content"] for row in rows(tmp_path, "preferences/train")]
    asked = [text.partition("=")[0] for text in equations if re.search(r"\d[*+-]\d", text)]
    trained = {Problem(text, "").canonical for text in asked}
    assert min(len(trained), *map(len, sums.values())) >= 140
    assert not trained & (sums["one_step"] | sums["test"])
    assert not sums["train"] & sums["rl"]
    assert not (sums["train"] | sums["rl"]) & sums["test"]


def test_a_faultless_solution_of_a_story_earns_its_reward() -> None:
    problems = arithmetic.problems("rl", 0, 20, (3,), stories.draw)
    solutions = [
        arithmetic_rows.teacher(problem, 1, random.Random(0), 0, 0, 0)[0] for problem in problems
    ]
    scores = rewards.score("math", solutions, [problem.answer for problem in problems])
    assert [score.reward for score in scores] == [1] * 20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "`sources` is missing, and no generated set has a name either"),
        (
            {
                "sources": [Source(name="maths-text")],
                "maths_documents": 10,
                "hub_corpus_id": "c",
            },
            "`hub_tokens_id` is missing: documents of `sources` go there",
        ),
        (
            {"hub_problems_id": "p", "rl_steps": [3, 4], "longer_steps": [3, 4, 5]},
            "`longer_steps` takes all of `rl_steps`, and leaves none for `test`",
        ),
    ],
)
def test_recipes_that_leave_a_part_out_are_errors(values: dict[str, Any], message: str) -> None:
    keys = DataKeys(stage="data", **values)
    with pytest.raises(RecipeError, match=re.escape(message)):
        keys.check()
