"""Verifiable rewards by name: `math`, `format`, `code`, or a function of the user.

A reward is batched and pure: it takes completions and answers, two lists of one length, and returns
a `Score` for each. `math` and `code` work in processes that can be killed (`pool.py`).
"""

import importlib
import math as arithmetic
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import own
from moxin_recipes.rewards.answers import form, math
from moxin_recipes.rewards.own import UNRATED
from moxin_recipes.rewards.pool import TIMED_OUT, Unavailable
from moxin_recipes.rewards.programs import code
from moxin_recipes.rewards.score import Score

__all__ = [
    "REWARDS",
    "TIMED_OUT",
    "UNRATED",
    "Score",
    "Unavailable",
    "check",
    "find",
    "for_trl",
    "score",
]

Reward = Callable[..., list[Score]]

REWARDS: dict[str, Reward] = {"math": math, "format": form, "code": code}


def find(name: str) -> Reward:
    """Returns the reward of a name, or of an import path `package.module:function`.

    It also searches the current folder. Raises RecipeError if there is no such function.
    """
    if name in REWARDS:
        return REWARDS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        known = ", ".join(REWARDS)
        raise RecipeError(
            f"`rewards`: there is no {name}; use {known}, or package.module:function of your own"
        )
    if "/" in module_name or module_name.endswith(".py"):
        module = ".".join(Path(module_name.removesuffix(".py")).parts).lstrip("./")
        raise RecipeError(
            f"`rewards`: {name} names a file; name its module, as in {module}:{function_name}"
            " (the current folder is searched, too)"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except (Exception, SystemExit) as error:  # whatever a user's module does when it is imported
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise RecipeError(f"`rewards`: {name} cannot be imported: {kind}{error}") from error
    if not callable(function):
        raise RecipeError(f"`rewards`: {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]


def check(names: Sequence[str]) -> None:
    """Raises RecipeError if a recipe's `rewards` are empty, or if one of them does not exist."""
    if not names:
        raise RecipeError("`rewards`: give at least one, such as math")
    for name in names:
        find(name)


def score(
    name: str, completions: Sequence[Any], answers: Sequence[str], /, **columns: Any
) -> list[Score]:
    """Returns one score for each completion, in the same way as training computes it.

    Completions are texts or turns. `columns` are further columns, for a reward of one's own that
    has the form of TRL's (`own.py`).
    """
    if len(completions) != len(answers):
        raise ValueError(f"{len(completions)} completions, but {len(answers)} answers")
    function = find(name)
    if name in REWARDS:
        return function([own.text_of(one) for one in completions], answers)
    return own.scored(name, function, completions, {**columns, "answer": list(answers)})


def for_trl(name: str, opened: str = "") -> Callable[..., list[float | None]]:
    """Returns the reward as a function for TRL, which passes the dataset's columns as keywords.

    It needs the column `answer`, and reads completions as texts or as turns, each after what the
    prompt has `opened`, such as `<think>`. It logs the share of verifier time-outs, and the reasons
    as a column of the completions table.
    """

    def reward(completions: list[Any], answer: list[str], **columns: Any) -> list[float | None]:
        whole = [_after(opened, completion) for completion in completions]
        scores = score(name, whole, answer, **columns)
        if "log_metric" in columns:
            timeouts = sum(verdict.reason == TIMED_OUT for verdict in scores)
            columns["log_metric"](f"rewards/{name}/timeouts", timeouts / len(scores))
        if "log_extra" in columns:
            columns["log_extra"](f"{name}_reason", [verdict.reason for verdict in scores])
        return [None if arithmetic.isnan(verdict.reward) else verdict.reward for verdict in scores]

    reward.__name__ = name
    return reward


def _after(opened: str, completion: Any) -> Any:
    """A completion with what its prompt has opened before it."""
    if not opened:
        return completion
    if isinstance(completion, str):
        return opened + completion
    return [*completion[:-1], {**completion[-1], "content": opened + completion[-1]["content"]}]
