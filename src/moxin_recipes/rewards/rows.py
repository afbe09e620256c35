"""`moxin score`: rows of `completion` and `answer`, scored on the path that training uses."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moxin_recipes import rewards
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.programs import tests_of

BATCH = 256  # rows scored, and written, together


def scored(name: str, file: str) -> Iterator[dict[str, Any]]:
    """`reward`, `seconds` and `reason` of each row of a JSON-lines file (`-`: standard input).

    All rows are read before the first is scored. Raises RecipeError with the number of the first
    line that cannot be used.
    """
    rewards.find(name)
    given = _read(name, file)
    for start in range(0, len(given), BATCH):
        completions, answers = zip(*given[start : start + BATCH], strict=True)
        for one in rewards.score(name, completions, answers):
            yield {"reward": one.reward, "seconds": round(one.seconds, 4), "reason": one.reason}


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
            if not isinstance(row, dict) or not isinstance(row.get(key), str):
                raise RecipeError(f"there is no text `{key}`")
        if name == "code":
            tests_of(row["answer"])
    except ValueError as error:
        raise RecipeError(
            f'{where}: {error}; each line must be {{"completion": "…", "answer": "…"}}'
        ) from error
    return row["completion"], row["answer"]
