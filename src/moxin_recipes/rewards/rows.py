"""`moxin score` scores rows of `completion` and `answer` in the same way as training does."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moxin_recipes import rewards
from moxin_recipes.problems.texts import answer_of
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.programs import tests_of

BATCH = 256  # rows that are scored and written together


def scored(name: str, file: str) -> Iterator[dict[str, Any]]:
    """Yields `reward`, `seconds` and `reason` of each row of a JSON-lines file.

    `file` may be `-`, the standard input. All rows are read before the first is scored. Raises
    RecipeError with the number of the first line that cannot be used.
    """
    rewards.find(name)
    pairs = _read(name, file)
    for start in range(0, len(pairs), BATCH):
        completions, answers = zip(*pairs[start : start + BATCH], strict=True)
        for score in rewards.score(name, completions, answers):
            yield {
                "reward": None if math.isnan(score.reward) else score.reward,
                "seconds": round(score.seconds, 4),
                "reason": score.reason,
            }


def _read(name: str, file: str) -> list[tuple[str, str]]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: {error}; give a file of JSON lines in UTF-8") from error
    # Not `splitlines`: JSON may have other line ends of Unicode inside its strings.
    lines = enumerate(text.split("\n"), start=1)
    return [_row(name, f"{file}:{number}", line) for number, line in lines if line.strip()]


def _row(name: str, where: str, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        for key in ("completion", "answer"):
            if not isinstance(row, dict) or row.get(key) is None:
                raise RecipeError(f"there is no text `{key}`")
        if not isinstance(row["completion"], str):
            raise RecipeError("there is no text `completion`")
        answer, why = answer_of(row["answer"], is_tests=name == "code")
        if answer is None:
            raise RecipeError(f"`answer`: {why}")
        if name == "code":
            tests_of(answer)
    except ValueError as error:
        raise RecipeError(
            f'{where}: {error}; each line must be {{"completion": "…", "answer": "…"}}'
        ) from error
    return row["completion"], answer
