"""Checks, before anything is spent, that rewards can tell right answers from wrong ones."""

import math
from collections.abc import Mapping
from typing import Any

from moxin_recipes import rewards
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import answers as answering
from moxin_recipes.rewards.pool import Job

_HOSTILE = ("<think></think>\\boxed{" + "(" * 300, "</think>" * 1000, "\\boxed{" * 1000, "", "\0")
NOT_READ = "answer is not understood"
_TESTS = '{"inputs": ["2"], "outputs": ["4"]}'
# Reward → known completions, each with its answer and its score.
KNOWN: dict[str, list[tuple[str, str, float]]] = {
    "math": [
        ("<think>half of 8</think>\n\\boxed{\\frac{8}{2}}", "4", 1),
        ("<think>half of 8</think>\n\\boxed{3}", "4", 0),
        ("half of 8 is \\boxed{4}", "4", 0),
    ],
    "format": [
        ("<think>half of 8</think>\n\\boxed{3}", "4", 1),
        ("half of 8 is \\boxed{4}", "4", 0),
    ],
    "code": [
        ("<think>twice</think>\n```python\nprint(2 * int(input()))\n```", _TESTS, 1),
        ("<think>twice</think>\n```python\nprint(5)\n```", _TESTS, 0),
        ("<think>twice</think>\nIt is 4.", _TESTS, 0),
        ("<think>twice</think>\n```python\nwhile True:\n    import os; os.fork()\n```", _TESTS, 0),
    ],
}


MOST = 0.1  # share of a set's answers that the verifier may fail to understand


def try_answers(names: list[str], problems: Problems) -> list[str]:
    """Returns one reason a row: the verifier cannot read the answer, or "".

    No solution of such a problem would be right. Raises RecipeError where they are more than `MOST`
    of all.
    """
    reasons = [""] * len(problems.reasons)
    if "math" not in names:
        return reasons
    places = problems.places()
    answers = list(dict.fromkeys(str(problems.answers[place]) for place in places))
    read = dict(zip(answers, answering.understood(answers), strict=True))
    unread = [place for place in places if not read[str(problems.answers[place])]]
    for place in unread:
        reasons[place] = NOT_READ
    if len(unread) > MOST * len(places):
        shown = [f"row {place}: {lost.excerpt(str(problems.answers[place]))}" for place in unread]
        raise RecipeError(
            f"`{problems.key}`: `math` can read {len(places) - len(unread)} of {len(places)} "
            f"answers ({'; '.join(shown[: lost.EXAMPLES])}); an answer is what stands in the box: "
            "name the column that holds it (`answer_column`), or use another reward (`rewards`)"
        )
    return reasons


def check_rewards(
    names: list[str], answers: list[str], columns: Mapping[str, Any] | None = None
) -> None:
    """Scores known completions, and hostile ones against the answers of the dataset.

    `columns` are the further values of the row of the first answer, for rewards of one's own.
    Raises RecipeError if a score is wrong or not finite, or if a verifier cannot be stopped.
    """
    rewards.check(names)
    for name in names:
        known = KNOWN.get(name, [])
        texts, right = [text for text, _, _ in known], [answer for _, answer, _ in known]
        scores = rewards.score(name, texts, right) if known else []
        for (text, answer, expected), score in zip(known, scores, strict=True):
            if score.reward != expected:
                raise RecipeError(
                    f"`rewards`: {name} gives {score.reward:g} ({score.reason}) instead of "
                    f"{expected:g} to {text!r} for the answer {answer}"
                )
        beside = {column: [value] * len(_HOSTILE) for column, value in (columns or {}).items()}
        for score in rewards.score(name, _HOSTILE, [answers[0]] * len(_HOSTILE), **beside):
            if not math.isfinite(score.reward) and score.reason != rewards.UNRATED:
                raise RecipeError(f"`rewards`: {name} gives {score.reward} to a broken answer")
        if name == "math":
            hanging = answering.pool().run([Job([("9^{9^{9^{9}}}", "4")], 1.0)])
            if hanging[0][0].failure != rewards.TIMED_OUT:
                raise RecipeError("`rewards`: a verifier that hangs cannot be stopped here")
        if name == "code":
            rewards.score(name, [""] * len(answers), answers)  # each of them must hold tests
