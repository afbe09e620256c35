r"""The reward `code`: 1 if the fenced Python program after `</think>` passes all tests.

The answer is JSON as in APPS and TACO: `{"inputs": […], "outputs": […]}`. Each input is the text of
standard input, and each output is the text to print; a list is its lines. With `"fn_name"`, each
input is the list of that function's arguments, and each output is what it returns, or a list of
just that. So does APPS itself read them (`eval/testing_util.py` of hendrycks/apps).

The right output of a test never enters the process that runs the program. So a program can pass
only by producing that output.
"""

import json
import re
import textwrap
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.pool import Job, Pool, Result
from moxin_recipes.rewards.score import Score

SECONDS_A_PROGRAM = 10.0  # for all of its tests
_LONGEST_PROGRAM = 100_000  # characters
_LISTS = ("inputs", "outputs")
_TESTS = 'the `answer` of a program must be its tests, {"inputs": […], "outputs": […]}'
_FENCED = re.compile(
    r"(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`~]*)[^`\n]*\n(?P<program>.*?)(?P=fence)[`~]*",
    re.DOTALL,
)
_PYTHON = re.compile(r"\{?\.?(?:python|py)?[23]?\}?", re.IGNORECASE)  # or no language


@cache
def pool() -> Pool:
    """Returns the sandboxed workers of this process."""
    return Pool("run")


def fenced_program(completion: str) -> tuple[str | None, str]:
    """Returns the last fenced block after `</think>`, or None with the reason."""
    _, closed, after = completion.rpartition("</think>")
    if not closed:
        return None, "no </think>"
    fenced = [block for block in _FENCED.finditer(after) if _PYTHON.fullmatch(block["language"])]
    if not fenced:
        return None, "no program after </think>"
    program = fenced[-1]["program"]
    if len(program) > _LONGEST_PROGRAM:
        return None, "program too long"
    indented = program.lstrip("\n")[:1] in (" ", "\t")
    return textwrap.dedent(program) if indented else program, ""


def tests_of(answer: str) -> dict[str, Any]:
    """Returns the tests in a row's `answer`; raises RecipeError if no program could pass them.

    Of programs that read and print, `inputs` and `outputs` are texts. Of functions, `fn_name` is
    the function's own name.
    """
    try:
        tests = json.loads(answer)
    except (ValueError, RecursionError):
        tests = None
    inputs, outputs = (tests.get(key) if isinstance(tests, dict) else None for key in _LISTS)
    if not (isinstance(inputs, list) and isinstance(outputs, list)):
        raise RecipeError(f"{_TESTS} with two lists of one length")
    if not inputs or len(inputs) != len(outputs):
        raise RecipeError(
            f"{_TESTS} with two lists of one length, not {len(inputs)} and {len(outputs)}"
        )
    name = tests.get("fn_name")
    if not name:
        return {"inputs": [*map(_text, inputs)], "outputs": [*map(_text, outputs)]}
    function = str(name).removeprefix("Solution.")  # a class `Solution` is looked at first anyway
    if not function.isidentifier():
        raise RecipeError(f"{_TESTS}; `fn_name` is the name of a function, not {name}")
    if not all(isinstance(arguments, list) for arguments in inputs):
        raise RecipeError(f"{_TESTS}; with `fn_name`, each input is a list of arguments, as [[2]]")
    return {"inputs": inputs, "outputs": outputs, "fn_name": function}


def _text(given: Any) -> str:
    """What a program reads or prints: a text, a number, or a list of such, line by line."""
    lines = given if isinstance(given, list) else [given]
    if not all(isinstance(line, str | int | float) for line in lines):
        raise RecipeError(f"{_TESTS}; without `fn_name`, each is a text or a list of lines")
    return "\n".join(map(str, lines))


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
    return [{"program": program, "input": text} for text in tests["inputs"]]


def _judged(results: Sequence[Result], tests: dict[str, Any]) -> str:
    """Returns `passed` or `wrong output`; white space that ends a line or the text is ignored."""
    expected = tests["outputs"]
    if not tests.get("fn_name"):
        pairs = zip(results, expected, strict=True)
        same = [_lines(result.output) == _lines(right) for result, right in pairs]
        return "passed" if all(same) else "wrong output"
    try:
        returned = json.loads(results[0].output)
    except ValueError:
        return "wrong output"
    if not isinstance(returned, list) or len(returned) != len(expected):
        return "wrong output"
    both = zip(returned, expected, strict=True)
    right = all(one in (wanted, *_within(wanted)) for one, wanted in both)
    return "passed" if right else "wrong output"


def _within(wanted: Any) -> list[Any]:
    """What stands alone in a list: APPS writes what a function returns in either way."""
    return wanted if isinstance(wanted, list) and len(wanted) == 1 else []


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
