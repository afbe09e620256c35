"""Rewards of one's own: called in either of two forms, their values checked, their errors named.

- Ours: `f(completions, answers)`, two lists of texts, gives a `Score` (or a number) for each. It is
  known by its parameter `answers`.
- TRL's: every other function. It gets what its parameters name, all with `**kwargs`: `prompts`,
  `completions` (turns, as in training), `completion_ids` where there are some, and each further
  column of the dataset, `answer` among them; it gives a number or None for each. It may be `async`.

The values may come as a list, an array, a tensor or one by one (a generator).
"""

import asyncio
import inspect
import itertools
import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.score import Score

UNRATED = "no verdict"  # TRL's None: the reward says nothing of this completion
_OF_GRPO = ("completion_ids", "trainer_state", "log_metric", "log_extra")  # given by its trainer


def is_of_trl(function: Callable[..., Any]) -> bool:
    """Whether a function has the form of TRL's rewards."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function of C says nothing of its parameters
        return False
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return True
    return not any(one.name == "answers" or one.kind is one.VAR_POSITIONAL for one in parameters)


def scored(
    name: str, function: Callable[..., Any], completions: Sequence[Any], columns: dict[str, Any]
) -> list[Score]:
    """One score a completion; `columns` are the dataset's, `answer` and `prompts` among them.

    A completion is a text or a list of turns. None of TRL's is a Score of NaN. Raises RecipeError
    that names the reward and the row, whatever the function raises or gives.
    """
    call = _as_trl if is_of_trl(function) else _as_ours
    try:
        values = _listed(call(function, completions, columns), len(completions))
    except (Exception, SystemExit) as error:
        raise _failed(name, call, function, completions, columns, error) from error
    if not isinstance(values, list) or len(values) != len(completions):
        size = len(values) if isinstance(values, list) else type(values).__name__
        raise RecipeError(
            f"`rewards`: {name} must give one Score or number for each of {len(completions)} "
            f"completions, not {size}"
        )
    return [
        _score(name, value, completion)
        for value, completion in zip(values, completions, strict=True)
    ]


def text_of(completion: Any) -> str:
    """What a completion says: itself, or the content of its last turn."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])


def _as_ours(function: Callable[..., Any], completions: Sequence[Any], columns: Any) -> Any:
    return function([text_of(one) for one in completions], columns["answer"])


def _as_trl(function: Callable[..., Any], completions: Sequence[Any], columns: Any) -> Any:
    parameters = inspect.signature(function).parameters
    given = {"prompts": [[] for _ in completions], **columns}
    given["completions"] = [
        [{"role": "assistant", "content": one}] if isinstance(one, str) else one
        for one in completions
    ]
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    absent = [
        one.name
        for one in parameters.values()
        if one.name not in given and one.default is one.empty and one.kind not in (
            one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]  # fmt: skip
    if absent and absent[0] in _OF_GRPO:
        raise LookupError(f"it needs the column `{absent[0]}`, which only GRPO has")
    if absent:
        there = ", ".join(sorted(given))
        raise LookupError(
            f"it needs the column `{absent[0]}`, and there are: {there} "
            "(a reward `f(completions, answers)` gets texts)"
        )
    values = function(**(given if takes_all else {n: given[n] for n in parameters if n in given}))
    return asyncio.run(values) if inspect.iscoroutine(values) else values


def _listed(values: Any, count: int) -> Any:
    """What a function gives as a list, if it gives one thing after the other.

    Of what has no length, one more than `count` is taken at most.
    """
    unlike = isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable)
    if unlike or getattr(values, "ndim", 1) == 0:
        return values
    return list(values if hasattr(values, "__len__") else itertools.islice(values, count + 1))


def _score(name: str, value: Any, completion: Any) -> Score:
    if isinstance(value, Score):
        number = _score(name, value.reward, completion).reward
        return Score(number, value.seconds, value.reason)
    if value is None:
        return Score(math.nan, 0.0, UNRATED)
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind = type(value).__name__
        raise RecipeError(f"`rewards`: {name} gives {kind} {_to(completion)}") from error
    if not math.isfinite(number):
        said = type(value).__name__ if isinstance(value, str | bytes) else number
        raise RecipeError(f"`rewards`: {name} gives {said} {_to(completion)}")
    return Score(number, 0.0, "")


def _to(completion: Any) -> str:
    return f"to “{lost.excerpt(text_of(completion))}”, and not a number"


def _failed(
    name: str,
    call: Callable[..., Any],
    function: Callable[..., Any],
    completions: Sequence[Any],
    columns: dict[str, Any],
    error: BaseException,
) -> RecipeError:
    """The one line of an exception inside a reward; it names the first row that raises alone."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    line = (
        f"`rewards`: {name} failed with {said} ({where.filename.rpartition('/')[2]}:{where.lineno})"
    )
    if isinstance(error, LookupError) and "needs the column" in str(error):
        return RecipeError(f"`rewards`: {name}: {error}")
    for row in range(len(completions)):
        alone = {key: value[row : row + 1] if _is_column(value, completions) else value
                 for key, value in columns.items()}  # fmt: skip
        try:
            _listed(call(function, completions[row : row + 1], alone), 1)
        except (Exception, SystemExit):
            answer = columns["answer"][row] if "answer" in columns else ""
            return RecipeError(
                f"{line}, at “{lost.excerpt(text_of(completions[row]))}” for the answer "
                f"{lost.excerpt(str(answer))}"
            )
    return RecipeError(f"{line}, on {len(completions)} completions together")


def _is_column(value: Any, completions: Sequence[Any]) -> bool:
    return isinstance(value, list) and len(value) == len(completions)
