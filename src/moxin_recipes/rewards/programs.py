r"""The reward `code`: the fenced Python program after `</think>` passes all tests.

The answer is JSON of the shape that APPS and TACO have: `{"inputs": […], "outputs": […]}`, where
each input is the text of standard input and each output the text to print; with `"fn_name"` each
input is the list of that function's arguments and each output what it returns. A test's right
output never enters the process that runs the program: what a program does there, it cannot pass
but by putting out the right thing.
"""

import json
import re
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.pool import Job, Pool, Result
from moxin_recipes.rewards.score import Score

SECONDS_A_PROGRAM = 10.0  # for all of its tests
_LONGEST_PROGRAM = 100_000  # characters
_FENCED = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)```", re.DOTALL)


@cache
def pool() -> Pool:
    """The sandboxed workers of this process."""
    return Pool("run")


def fenced_program(completion: str) -> tuple[str | None, str]:
    """The last fenced block after `</think>`, or None with the reason."""
    _, closed, after = completion.rpartition("</think>")
    if not closed:
        return None, "no </think>"
    blocks = _FENCED.findall(after)
    if not blocks:
        return None, "no program after </think>"
    if len(blocks[-1]) > _LONGEST_PROGRAM:
        return None, "program too long"
    return blocks[-1], ""


def tests_of(answer: str) -> dict[str, Any]:
    """The tests in a row's `answer`; raises RecipeError where there are none."""
    try:
        tests = json.loads(answer)
    except ValueError:
        tests = None
    fits = isinstance(tests, dict) and all(
        isinstance(tests.get(key), list) for key in ("inputs", "outputs")
    )
    if not fits or not tests["inputs"] or len(tests["inputs"]) != len(tests["outputs"]):
        raise RecipeError(
            'the `answer` of a program must be its tests, {"inputs": […], "outputs": […]} with two '
            "lists of one length"
        )
    return dict(tests)


def code(completions: Sequence[str], answers: Sequence[str]) -> list[Score]:
    """1 if the program passes every test; raises RecipeError for an answer that holds no tests."""
    began = time.perf_counter()
    scores: dict[int, Score] = {}
    jobs: dict[int, Job] = {}
    tests = [tests_of(answer) for answer in answers]
    for place, completion in enumerate(completions):
        program, reason = fenced_program(completion)
        if program is None:
            scores[place] = Score(0.0, time.perf_counter() - began, reason)
        else:
            jobs[place] = Job(_steps(program, tests[place]), SECONDS_A_PROGRAM)
    for place, results in zip(jobs, pool().run(list(jobs.values())), strict=True):
        reason = results[-1].failure or _judged(results, tests[place])
        seconds = sum(result.seconds for result in results)
        scores[place] = Score(float(reason == "passed"), seconds, reason)
    return [scores[place] for place in range(len(completions))]


def _steps(program: str, tests: dict[str, Any]) -> list[dict[str, Any]]:
    name = tests.get("fn_name")
    if name:
        return [{"program": program, "function": name, "calls": tests["inputs"]}]
    return [{"program": program, "input": str(text)} for text in tests["inputs"]]


def _judged(results: Sequence[Result], tests: dict[str, Any]) -> str:
    """`passed`, or `wrong output`; blanks at the ends of lines and of the whole do not count."""
    wanted = tests["outputs"]
    if not tests.get("fn_name"):
        pairs = zip(results, wanted, strict=True)
        same = [_lines(result.output) == _lines(str(right)) for result, right in pairs]
        return "passed" if all(same) else "wrong output"
    try:
        returned = json.loads(results[0].output)
    except ValueError:
        return "wrong output"
    return "passed" if returned == wanted else "wrong output"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
