"""The list `decontaminate`: evaluation sets of which nothing is trained on, in every stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from moxin_recipes.recipe.fields import DATASET_INPUT
from moxin_recipes.recipe.strict import RecipeError

KEY = "decontaminate"
RuleName = Literal["8-gram", "13-gram", "whole"]  # documents/index.py says what they find
MADE_HERE = ("local", "problems", "heldout")  # what is no repository under the key `dataset`
EVALUATION_INPUT = {**DATASET_INPUT, "made_here": MADE_HERE}


@dataclass(kw_only=True)
class EvaluationSet:
    """Items that nothing to train on may hold; the first column is the question."""

    name: str
    # REPOSITORY[@REVISION]; of `data` also `problems`: those of the stage; `heldout`: its documents
    dataset: str = field(metadata=EVALUATION_INPUT)
    configs: list[str] | None = None  # ["*"]: all of the repository
    split: str = "test"
    columns: list[str] = field(default_factory=lambda: ["text"])  # `choices.text`: a field in one
    rules: list[RuleName] = field(default_factory=lambda: ["8-gram", "13-gram"])


def check_sets(sets: Sequence[EvaluationSet]) -> None:
    """Each set has a name of its own, columns and rules; or a RecipeError."""
    check_distinct(KEY, [wanted.name for wanted in sets])
    for position, wanted in enumerate(sets):
        for key in ("columns", "rules"):
            if not getattr(wanted, key):
                raise RecipeError(f"`{KEY}[{position}].{key}` is empty: name one")


def check_published(sets: Sequence[EvaluationSet]) -> None:
    """As `check_sets`, for a stage that makes none of them: each is a dataset."""
    check_sets(sets)
    for position, wanted in enumerate(sets):
        if wanted.dataset in MADE_HERE:
            raise RecipeError(
                f"`{KEY}[{position}].dataset`: {wanted.dataset} is made by the stage `data`, and "
                "only there it has that name; name a repository"
            )


def listed_in(values: dict[str, Any], path: Path) -> list[Any]:
    """The sets that the recipe of a data stage lists, as another stage reads them.

    `values` are those of the recipe at `path`. Problems that its stage makes stand in the
    repository that it pushes. Held-out documents are left away: they are pages of text, and only
    measure bits per byte. RecipeError where no set is left.
    """
    given, problems = values.get(KEY), values.get("hub_problems_id")
    tag = path.stem.split("-", 1)[-1]
    sets: list[Any] = []
    for wanted in given if isinstance(given, list) else []:
        of = wanted.get("dataset") if isinstance(wanted, dict) else None
        if of == "problems" and problems:
            sets.append({"configs": ["problems"], **wanted, "dataset": f"{problems}@{tag}"})
        elif of != "heldout":
            sets.append(wanted)
    if not sets:
        raise RecipeError(
            f"`{KEY}`: {path} lists no evaluation set under `{KEY}`; name the recipe of a data "
            "stage that does, or list the sets here"
        )
    return sets


def check_distinct(key: str, names: Sequence[str]) -> None:
    """RecipeError for a name that a list under `key` has twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"`{key}`: {twice[0]} is named twice")
