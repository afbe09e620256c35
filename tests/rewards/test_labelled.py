"""The maths reward against labels: pairs by hand, benchmarks' forms of answers, other problems'."""

import json
import random
from pathlib import Path

import pytest
from tests.rewards import gold_forms
from tests.rewards.gold_forms import Gold

from moxin_recipes import rewards

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "labelled.jsonl").read_text(encoding="utf-8").splitlines()
]


def rewarded(ends: list[str], answers: list[str]) -> list[float]:
    completions = [f"<think>so</think>\n{end}" for end in ends]
    return [score.reward for score in rewards.score("math", completions, answers)]


def test_the_labelled_pairs() -> None:
    got = rewarded([row["end"] for row in ROWS], [row["answer"] for row in ROWS])
    wrong = [row for row, reward in zip(ROWS, got, strict=True) if reward != row["want"]]
    assert wrong == []
    assert len(ROWS) >= 400
    assert 0.4 < sum(row["want"] for row in ROWS) / len(ROWS) < 0.6


def test_each_form_of_an_answer_is_right_as_itself_and_in_its_second_form() -> None:
    golds = gold_forms.golds(4 * len(gold_forms.FORMS), seed=1)
    assert len({gold.form for gold in golds}) == len(gold_forms.FORMS) >= 30
    ends = [f"\\boxed{{{text}}}" for gold in golds for text in (gold.answer, gold.second)]
    answers = [text for gold in golds for text in [gold.answer] * 2]
    got = rewarded(ends, answers)
    assert [
        (end, answer) for end, answer, one in zip(ends, answers, got, strict=True) if not one
    ] == []
    golds = [gold for gold in golds if gold.form != "aime"]  # `m + n = 5` as a gold is an equation
    back = rewarded([f"\\boxed{{{gold.answer}}}" for gold in golds], [g.second for g in golds])
    assert [gold for gold, one in zip(golds, back, strict=True) if not one] == []


def others(count: int, seed: int) -> list[tuple[Gold, Gold]]:
    """Pairs of answers to two problems, half of them of one form, whose values differ."""
    golds, rng = gold_forms.golds(2000, seed), random.Random(seed)
    by_form = {form: [gold for gold in golds if gold.form == form] for form in gold_forms.FORMS}
    pairs = []
    while len(pairs) < count:
        one = rng.choice(golds)
        other = rng.choice(by_form[one.form] if rng.random() < 0.5 else golds)
        if not gold_forms.tie(one, other):
            pairs.append((one, other))
    return pairs


def _none_is_right(pairs: list[tuple[Gold, Gold]]) -> None:
    ends = [f"\\boxed{{{one.second}}}" for one, _ in pairs]
    got = rewarded(ends, [other.answer for _, other in pairs])
    assert [
        (one.second, other.answer) for (one, other), r in zip(pairs, got, strict=True) if r
    ] == []


def test_no_answer_is_right_for_another_problem() -> None:
    _none_is_right(others(300, seed=3))


@pytest.mark.soak
def test_no_answer_is_right_for_another_problem_in_ten_thousand() -> None:
    _none_is_right(others(10_000, seed=4))
