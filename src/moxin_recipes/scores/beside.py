"""A model's scores beside the paper's numbers, which have no errors: theirs is that of a share."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from moxin_recipes.recipe.keys.evaluate import SUITES, Asked, suite
from moxin_recipes.recipe.strict import RecipeError, near
from moxin_recipes.scores.compare import Side
from moxin_recipes.scores.statistics import Z

Row = dict[str, Any]
PAPER = "paper:"
_SAID = ("chat", "system", "generation")  # the rest is the same, or there is no row


@dataclass(frozen=True)
class Beside:
    """A score, its error and interval beside the paper's number of as many items; all are shares.

    `differs` names the settings that the suite has otherwise.
    """

    task: str
    metric: str
    items: int
    value: float
    own_stderr: float | None
    low: float | None
    high: float | None
    paper: float
    differs: list[str]

    @property
    def paper_stderr(self) -> float:
        """Of a share of as many items."""
        return math.sqrt(self.paper * (1 - self.paper) / self.items)

    @property
    def stderr(self) -> float:
        """Of the distance, as if both numbers were of items of their own: rather too wide."""
        return math.hypot(self.paper_stderr, self.own_stderr or 0.0)

    @property
    def within(self) -> bool | None:
        """Whether the paper's number lies in the interval of the score."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.paper <= self.high

    @property
    def verdict(self) -> str:
        """Whether the distance may be chance."""
        far = abs(self.value - self.paper) > Z * self.stderr
        return ("higher" if self.value > self.paper else "lower") if far else "noise"


def beside_paper(a: Side, name: str) -> tuple[list[Beside], list[str]]:
    """The scores of whole sets beside a row of a suite's `paper`, and what the suites say differs.

    A score is beside a number if its task, metric, shots and samples are the suite's.
    """
    found: list[Beside] = []
    differs: list[str] = []
    known: set[str] = set()
    for path in sorted(SUITES.glob("*.yaml")):
        whole = suite(path.stem)
        known |= whole.paper.keys()
        numbers = whole.paper.get(name, {})
        for asked in whole.tasks:
            fits = [row for row in a.scores.table if asked.task in numbers and _fits(a, row, asked)]
            found += [_beside(a, row, asked, numbers[asked.task] / 100) for row in fits]
            differs += [line for line in whole.differs if fits and line not in differs]
    if name not in known:
        hint = near(name, known) or f" (there are {', '.join(sorted(known))})"
        raise RecipeError(f"{PAPER}{name}: no suite has a row of this name{hint}")
    if not found:
        raise RecipeError(
            f"{a.model} has no whole task, with the paper's shots, samples and metric, that the "
            f"paper has for {name}"
        )
    return found, differs


def _fits(a: Side, row: Row, asked: Asked) -> bool:
    return (
        (row["model"], row["task"], row["failed"]) == (a.model, asked.task, None)
        and row["whole"]
        and row["value"] is not None
        and asked.num_fewshot in (None, row["shots"])
        and asked.samples == row["samples"]
        and asked.metric in (None, row["metric"])
    )


def _beside(a: Side, row: Row, asked: Asked, paper: float) -> Beside:
    wanted = dataclasses.asdict(asked)
    wanted["generation"] = {k: v for k, v in wanted["generation"].items() if v is not None}
    settings = _settings(a, row)
    return Beside(
        task=row["task"],
        metric=row["metric"],
        items=row["items"],
        value=row["value"],
        own_stderr=row["stderr"],
        low=row["low"],
        high=row["high"],
        paper=paper,
        differs=[
            f"{key} {settings[key]} / {wanted[key]}"
            for key in _SAID
            if settings.get(key, wanted[key]) != wanted[key]
        ],
    )


def _settings(a: Side, row: Row) -> Row:
    """How a row of the table was asked: a unit's settings, or of a group those of its first."""
    firsts = {group["key"][:12]: group["units"][0][:12] for group in a.scores.groups}
    wanted = firsts.get(row["unit"], row["unit"])
    found = [unit["settings"] for unit in a.scores.units if unit["key"][:12] == wanted]
    return dict(found[0]) if found else {}
