"""Checks, before anything is spent, that rewards can tell right answers from wrong ones."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from moxin_recipes import rewards
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import answers as answering
from moxin_recipes.rewards.pool import Job
from moxin_recipes.rewards.programs import tests_of

HOSTILE = ("<think></think>\\boxed{" + "(" * 300, "</think>" * 1000, "\\boxed{" * 1000, "", "\0")
NOT_READ, NO_TESTS = "answer is not understood", "tests are not understood"
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
    """Returns one reason a row: a verifier of `names` cannot read the answer, or "".

    No solution of such a problem would be right. Raises RecipeError where they are more than `MOST`
    of all.
    """
    reasons = [""] * len(problems.reasons)
    for name, (reason, wanted) in _READS.items():
        if name not in names:
            continue
        places = [place for place in problems.places() if not reasons[place]]
        texts = {place: str(problems.answers[place]) for place in places}
        answers = list(dict.fromkeys(texts.values()))
        why = dict(zip(answers, wanted(answers), strict=True))
        unread = [place for place in places if why[texts[place]]]
        for place in unread:
            reasons[place] = reason
        if len(unread) > MOST * len(places):
            shown = [f"row {n}: {lost.excerpt(texts[n])}" for n in unread[: lost.EXAMPLES]]
            raise RecipeError(
                f"`{problems.key}`: `{name}` can read {len(places) - len(unread)} of "
                f"{len(places)} answers ({'; '.join(shown)}); {why[texts[unread[0]]]}: name the "
                "column that holds it (`answer_column`), or use another reward (`rewards`)"
            )
    return reasons


def _wanted_by_math(answers: list[str]) -> list[str]:
    wanted = "an answer is what stands in the box"
    return ["" if read else wanted for read in answering.understood(answers)]


def _wanted_by_code(answers: list[str]) -> list[str]:
    def wanted(answer: str) -> str:
        try:
            tests_of(answer)
        except RecipeError as error:
            return str(error)
        return ""

    return [wanted(answer) for answer in answers]


# Reward → the reason of an answer that it cannot read, and what each has to be, "" where it is so.
_READS: dict[str, tuple[str, Callable[[list[str]], list[str]]]] = {
    "math": (NOT_READ, _wanted_by_math),
    "code": (NO_TESTS, _wanted_by_code),
}


def check_rewards(
    names: list[str],
    answers: list[str],
    columns: Mapping[str, Any] | None = None,
    of_trainer: Mapping[str, Any] | None = None,
) -> None:
    """Scores known completions, and hostile ones against the answers of the dataset.

    `columns` are the further values of the row of the first answer, for rewards of one's own;
    `of_trainer` is what a trainer adds for `HOSTILE`, as it is (`preflight.of_trainer`). Raises
    RecipeError if a score is wrong or not finite, or if a verifier cannot be stopped.
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
        beside = {column: [value] * len(HOSTILE) for column, value in (columns or {}).items()}
        beside |= of_trainer or {}
        for score in rewards.score(name, HOSTILE, [answers[0]] * len(HOSTILE), **beside):
            if not math.isfinite(score.reward) and score.reason != rewards.UNRATED:
                raise RecipeError(f"`rewards`: {name} gives {score.reward} to a broken answer")
        if name == "math":
            hanging = answering.pool().run([Job([("9^{9^{9^{9}}}", "4")], 1.0)])
            if hanging[0][0].failure != rewards.TIMED_OUT:
                raise RecipeError("`rewards`: a verifier that hangs cannot be stopped here")
        if name == "code":
            rewards.score(name, [""] * len(answers), answers)  # each of them must hold tests
