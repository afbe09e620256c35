"""The generator: right answers, no evaluation item in any training row, the same rows each time."""

import random
import re

import pytest

from moxin_recipes.problems import arithmetic, arithmetic_rows
from moxin_recipes.problems.arithmetic import Problem
from moxin_recipes.problems.arithmetic_rows import Row

SEEDS = (0, 1, 17)
CHAINS = (2, 3, 4, 5, 6)
_SUM = re.compile(r"\d+(?:[+-]\d+)+")


def _evaluate(expression: str) -> int:
    """Add up the signed numbers of an expression, without the code under test."""
    return sum(int(term) for term in re.findall(r"[+-]?\d+", expression))


def _canonical(expression: str) -> tuple[int, ...]:
    return tuple(sorted(int(term) for term in re.findall(r"[+-]?\d+", expression)))


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def _training_rows(seed: int) -> list[Row]:
    rng = random.Random(seed)
    rows: list[Row] = list(arithmetic_rows.maths_documents("train", seed, 150))
    rows += arithmetic_rows.chat_rows("train", seed, 1_500)
    rows += arithmetic_rows.preference_rows("train", seed, 800)
    for problem in arithmetic.problems("train", seed, 800, (2, 3, 4)):
        rows.append({"text": [problem.question, *arithmetic_rows.teacher(problem, 2, rng)]})
    rows += [arithmetic_rows.problem_row(p) for p in arithmetic.problems("rl", seed, 800, CHAINS)]
    return rows


@pytest.mark.parametrize("split", ["train", "rl", "test"])
def test_answers_agree_with_an_independent_evaluation(split: arithmetic.Split) -> None:
    for problem in arithmetic.problems(split, 3, 400, (1, *CHAINS)):
        assert problem.expression in problem.question
        assert int(problem.answer) == _evaluate(problem.expression)
        assert problem.steps == len(re.findall(r"[+-]", problem.expression))
        assert arithmetic.split_of(problem) == split
        for style in ("full", "short"):
            for line in arithmetic.worked(problem, style, random.Random(0)).splitlines():
                left, _, right = line.partition("=")
                assert _evaluate(left) == int(right)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_evaluation_item_occurs_in_any_training_row(seed: int) -> None:
    evaluated = {
        _canonical(p.expression)
        for other in SEEDS
        for p in arithmetic.problems("test", other, 400, (1,))
        + arithmetic.problems("test", other, 1_000, CHAINS)
    }
    seen = {
        _canonical(expression)
        for row in _training_rows(seed)
        for text in _texts(row)
        for expression in _SUM.findall(text)
    }
    assert len(seen) > 1_500
    assert not seen & evaluated


def test_the_split_ignores_wording_and_order_of_terms() -> None:
    for problem in arithmetic.problems("test", 0, 200, CHAINS):
        first, *others = problem.terms
        turned = Problem("".join([first, *reversed(others)]), "Add it all up!")
        assert arithmetic.split_of(turned) == "test"


def test_no_line_of_a_chain_is_a_one_step_question() -> None:
    for problem in arithmetic.problems("train", 0, 2_000, CHAINS):
        for line in arithmetic.running_totals(problem):
            first = int(re.split(r"[+-]", line)[0])
            assert first <= arithmetic.MAX_TOTAL < arithmetic.ONE_STEP_FIRST[0]


def test_there_are_enough_evaluation_items() -> None:
    for steps in ((1,), (3,), (4,), (5,), (6,)):
        problems = arithmetic.problems("test", 0, 400, steps)
        assert len({p.expression for p in problems}) == 400
    with pytest.raises(ValueError, match="only"):
        arithmetic.problems("test", 0, 5_000, (1,))
    with pytest.raises(ValueError, match="steps must lie in"):
        arithmetic.problems("test", 0, 1, (0,))


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    assert _training_rows(5) == _training_rows(5)
    assert _training_rows(5) != _training_rows(6)
    assert arithmetic_rows.choice_rows(1, 50) == arithmetic_rows.choice_rows(1, 50)


def test_wrong_answers_are_wrong() -> None:
    rng = random.Random(0)
    for problem in arithmetic.problems("train", 0, 500, (1, 2, 5)):
        assert arithmetic.wrong(problem, rng) != problem.answer
    for row in arithmetic_rows.preference_rows("train", 0, 500):
        assert row["chosen"] != row["rejected"]


def test_chat_rows_answer_their_questions() -> None:
    kinds = set()
    for row in arithmetic_rows.chat_rows("train", 0, 2_000):
        question, answer = (turn["content"] for turn in row["messages"])
        expression = _SUM.search(question)
        kinds.add("sum" if expression else " ".join(question.split()[:3]))
        if expression:
            assert answer == f"{expression.group()}={_evaluate(expression.group())}"
        elif question.startswith("Which is larger"):
            assert int(answer) == max(map(int, re.findall(r"\d+", question)))
    assert len(kinds) >= 5


def test_chats_work_chains_out_where_they_are_wanted() -> None:
    seen = set()
    for row in arithmetic_rows.chat_rows("train", 0, 500, steps=(2, 5)):
        question, answer = (turn["content"] for turn in row["messages"])
        expression = _SUM.search(question)
        lines = answer.splitlines()
        if expression and len(lines) > 1:
            problem = Problem(expression.group(), question)
            assert lines == arithmetic.running_totals(problem)
            seen.add(problem.steps)
    assert seen == {2, 5}


def test_choices_hold_the_right_answer_once() -> None:
    for row in arithmetic_rows.choice_rows(0, 400):
        expression = _SUM.search(row["question"])
        assert expression
        assert len(set(row["choices"])) == 4
        right = f"{expression.group()}={_evaluate(expression.group())}"
        assert row["choices"][row["label"]] == right


def test_the_teacher_is_mostly_right_and_sometimes_not() -> None:
    rng = random.Random(0)
    right = malformed = total = 0
    for problem in arithmetic.problems("train", 0, 1_000, (2, 3, 4)):
        for completion in arithmetic_rows.teacher(problem, 2, rng):
            total += 1
            shape = re.fullmatch(r"<think>\n(.+)\n</think>\n\\boxed\{(\d+)\}", completion, re.S)
            malformed += shape is None
            right += shape is not None and shape.group(2) == problem.answer
    assert 0.02 < malformed / total < 0.06
    assert 0.84 < right / total < 0.92


def test_the_teacher_can_be_made_faultless() -> None:
    problem = arithmetic.problems("train", 0, 1, (3,))[0]
    lines = "\n".join(arithmetic.running_totals(problem))
    faultless = arithmetic_rows.teacher(
        problem, 3, random.Random(0), short_share=0, wrong_share=0, malformed_share=0
    )
    assert all(text.startswith(arithmetic.chain_prefix(problem)) for text in faultless)
    short = arithmetic_rows.teacher(problem, 1, random.Random(0), 1, 0, 0)[0]
    assert not short.startswith(arithmetic.chain_prefix(problem))
    assert faultless == [f"<think>\n{lines}\n</think>\n\\boxed{{{problem.answer}}}"] * 3
