"""Verifiable rewards by name: `math`, `format`, `code`, or a function of the user's own.

A reward is batched and pure: it takes completions and answers, two lists of one length, and gives
a `Score` for each. `math` and `code` do their work in processes that can be killed (`pool.py`).
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.answers import form, math
from moxin_recipes.rewards.pool import TIMED_OUT, Unavailable
from moxin_recipes.rewards.programs import code
from moxin_recipes.rewards.score import Score

__all__ = ["REWARDS", "TIMED_OUT", "Score", "Unavailable", "check", "find", "for_trl", "score"]

Reward = Callable[[Sequence[str], Sequence[str]], list[Score]]

REWARDS: dict[str, Reward] = {"math": math, "format": form, "code": code}


def find(name: str) -> Reward:
    """The reward of a name, or of an import path `package.module:function`.

    The current folder is searched too. Raises RecipeError where there is no such function.
    """
    if name in REWARDS:
        return REWARDS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        known = ", ".join(REWARDS)
        raise RecipeError(
            f"`rewards`: there is no {name}; use {known}, or package.module:function of your own"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except ImportError as error:
        raise RecipeError(f"`rewards`: {name} cannot be imported: {error}") from error
    if not callable(function):
        raise RecipeError(f"`rewards`: {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]


def check(names: Sequence[str]) -> None:
    """Raises RecipeError where a recipe's `rewards` are none, or one of them is not there."""
    if not names:
        raise RecipeError("`rewards`: give at least one, such as math")
    for name in names:
        find(name)


def score(name: str, completions: Sequence[str], answers: Sequence[str]) -> list[Score]:
    """One score for each completion, by reward name: the path that training uses."""
    if len(completions) != len(answers):
        raise ValueError(f"{len(completions)} completions, but {len(answers)} answers")
    found = find(name)(completions, answers)
    if len(found) != len(completions) or not all(isinstance(one, Score) for one in found):
        raise RecipeError(f"`rewards`: {name} must give one Score for each completion")
    return found


def for_trl(name: str) -> Callable[..., list[float]]:
    """A reward function as TRL calls it; needs the column `answer`, reads conversational turns.

    It logs the share of verifier time-outs, and the reasons as a column of the completions table.
    """

    def reward(completions: list[Any], answer: list[str], **given: Any) -> list[float]:
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        scores = score(name, texts, answer)
        if "log_metric" in given:
            late = sum(one.reason == TIMED_OUT for one in scores)
            given["log_metric"](f"rewards/{name}/timeouts", late / len(scores))
        if "log_extra" in given:
            given["log_extra"](f"{name}_reason", [one.reason for one in scores])
        return [one.reward for one in scores]

    reward.__name__ = name
    return reward
