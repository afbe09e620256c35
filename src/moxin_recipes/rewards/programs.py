r"""The reward `code`: 1 if the fenced Python program after `</think>` passes all tests.

The answer is JSON as in APPS and TACO: `{"inputs": […], "outputs": […]}`. Each input is the text of
standard input, and each output is the text to print. With `"fn_name"`, each input is the list of
that function's arguments, and each output is what it returns. The right output of a test never
enters the process that runs the program. So a program can pass only by producing that output.
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
    """Returns the sandboxed workers of this process."""
    return Pool("run")


def fenced_program(completion: str) -> tuple[str | None, str]:
    """Returns the last fenced block after `</think>`, or None with the reason."""
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
    """Returns the tests in a row's `answer`; raises RecipeError if there are none."""
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
    """Scores 1 if the program passes every test; raises RecipeError for an answer without tests."""
    start_time = time.perf_counter()
    scores: dict[int, Score] = {}
    jobs: dict[int, Job] = {}
    tests = [tests_of(answer) for answer in answers]
    for index, completion in enumerate(completions):
        program, reason = fenced_program(completion)
        if program is None:
            scores[index] = Score(0.0, time.perf_counter() - start_time, reason)
        else:
            jobs[index] = Job(_steps(program, tests[index]), SECONDS_A_PROGRAM)
    for index, results in zip(jobs, pool().run(list(jobs.values())), strict=True):
        reason = results[-1].failure or _judged(results, tests[index])
        seconds = sum(result.seconds for result in results)
        scores[index] = Score(float(reason == "passed"), seconds, reason)
    return [scores[index] for index in range(len(completions))]


def _steps(program: str, tests: dict[str, Any]) -> list[dict[str, Any]]:
    name = tests.get("fn_name")
    if name:
        return [{"program": program, "function": name, "calls": tests["inputs"]}]
    return [{"program": program, "input": str(text)} for text in tests["inputs"]]


def _judged(results: Sequence[Result], tests: dict[str, Any]) -> str:
    """Returns `passed` or `wrong output`; white space that ends a line or the text is ignored."""
    expected = tests["outputs"]
    if not tests.get("fn_name"):
        pairs = zip(results, expected, strict=True)
        same = [_lines(result.output) == _lines(str(right)) for result, right in pairs]
        return "passed" if all(same) else "wrong output"
    try:
        returned = json.loads(results[0].output)
    except ValueError:
        return "wrong output"
    return "passed" if returned == expected else "wrong output"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
