"""Two models on the same items, or a model beside the paper: a difference never lacks its error."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moxin_recipes.recipe.keys.evaluate import SUITES, suite
from moxin_recipes.recipe.strict import RecipeError, near
from moxin_recipes.scores.published import Published, named, read
from moxin_recipes.scores.statistics import Pairing, Z, paired, pass_at

Row = dict[str, Any]
PAPER = "paper:"


@dataclass(frozen=True)
class Side:
    """One model of a scores repository."""

    scores: Published
    model: str

    @property
    def units(self) -> list[Row]:
        """Its units."""
        return [unit for unit in self.scores.units if unit["model"] == self.model]


@dataclass(frozen=True)
class Pair:
    """One metric of one task on both sides; `differs` names settings, `apart` counts items."""

    task: str
    metric: str
    values: tuple[float, float]
    pairing: Pairing
    apart: tuple[int, int]
    differs: list[str]
    higher_is_better: bool = True

    @property
    def verdict(self) -> str:
        """Which side is better, or `noise`."""
        if self.pairing.p >= 0.05:
            return "noise"
        higher = self.pairing.difference > 0
        return "A better" if higher == self.higher_is_better else "B better"


@dataclass(frozen=True)
class Beside:
    """A score beside the paper's; `stderr` is of their difference, by both numbers' items."""

    task: str
    metric: str
    value: float
    paper: float
    stderr: float
    items: int

    @property
    def verdict(self) -> str:
        """Whether the distance may be chance."""
        far = abs(self.value - self.paper) > Z * self.stderr
        return ("higher" if self.value > self.paper else "lower") if far else "noise"


def side(written: str) -> Side:
    """`SCORES[@REVISION][:MODEL]`; MODEL is any part of a model's name that fits one alone."""
    repo, _, wanted = written.partition(":")
    scores = read(repo)
    models = list(dict.fromkeys(unit["model"] for unit in scores.units))
    fits = [model for model in models if wanted == model] or [m for m in models if wanted in m]
    if len(fits) != 1:
        known = ", ".join(models) or "none"
        raise RecipeError(
            f"{written}: {len(fits)} models fit; write {repo}:MODEL with one of: {known}"
        )
    return Side(scores, fits[0])


def pairs(a: Side, b: Side) -> list[Pair]:
    """Each metric of each task that both sides were asked, on the items that they share."""
    found = []
    for unit in a.units:
        others = [other for other in b.units if other["task"] == unit["task"]]
        if others:
            other = min(others, key=lambda one: len(_differ(unit, one)))
            found += list(_of_units(a, unit, b, other))
    if not found:
        raise RecipeError(f"{a.model} and {b.model} have no task and item in common")
    return found


def _of_units(a: Side, unit: Row, b: Side, other: Row) -> Iterator[Pair]:
    rows = a.scores.items(unit), b.scores.items(other)
    theirs = {named(metric): metric for metric in other["metrics"]}
    for metric in unit["metrics"]:
        of_problems = metric["aggregation"] == "mean" or metric["aggregation"].startswith("pass@")
        if named(metric) not in theirs or not of_problems:
            continue
        left = _problems(metric, rows[0])
        right = _problems(theirs[named(metric)], rows[1])
        common = left.keys() & right.keys()
        if common:
            values = [sum(side[key] for key in common) / len(common) for side in (left, right)]
            yield Pair(
                unit["task"],
                named(metric),
                (values[0], values[1]),
                paired(left, right),
                (len(left) - len(common), len(right) - len(common)),
                _differ(unit, other),
                metric.get("higher_is_better") is not False,
            )


def _problems(metric: Row, rows: list[Row]) -> dict[tuple[str, int], float]:
    """Document → its mean, or its pass@k; documents that are alike are told apart by their turn."""
    samples: dict[int, list[float]] = {}
    digests = {}
    for row in rows:
        value = json.loads(row["scores"]).get(metric["of"])
        if row["filter"] == metric["filter"] and isinstance(value, int | float):
            samples.setdefault(row["doc_id"], []).append(float(value))
            digests[row["doc_id"]] = row["digest"]
    turns: Counter[str] = Counter()
    problems = {}
    for document, values in samples.items():
        digest = digests[document]
        _, passes, k = metric["aggregation"].partition("pass@")
        mean = sum(values) / len(values)
        if passes:
            mean = pass_at(int(k), len(values), sum(value > 0 for value in values))
        problems[digest, turns[digest]] = mean
        turns[digest] += 1
    return problems


def _differ(a: Row, b: Row) -> list[str]:
    """The settings in which two units differ."""
    return [
        f"{name} {_short(a['settings'].get(name))} / {_short(b['settings'].get(name))}"
        for name in sorted(a["settings"].keys() | b["settings"].keys())
        if a["settings"].get(name) != b["settings"].get(name)
    ]


def _short(value: Any) -> str:
    if isinstance(value, dict) and "commit" in value:
        return f"{value['path']}@{str(value['commit'])[:12]}"
    return str(value)[:40]


def beside_paper(a: Side, name: str) -> tuple[list[Beside], list[str]]:
    """The scores of a model beside a row of a suite's `paper`, and what differs in settings.

    The paper gives no errors: its numbers get the error of a share of as many items.
    """
    found: list[Beside] = []
    differs: list[str] = []
    known: set[str] = set()
    for path in sorted(SUITES.glob("*.yaml")):
        whole = suite(path.stem)
        known |= whole.paper.keys()
        for asked in whole.tasks:
            percent = whole.paper.get(name, {}).get(asked.task)
            for row in a.scores.table if percent is not None else []:
                fits = (row["model"], row["task"]) == (a.model, asked.task) and not row["failed"]
                shots = asked.num_fewshot in (None, row["shots"])
                metric = asked.metric in (None, row["metric"])
                samples = asked.samples == row["samples"]
                if fits and shots and metric and samples and row["whole"]:
                    found.append(_beside(row, percent / 100))
                    differs += [line for line in whole.differs if line not in differs]
    if name not in known:
        hint = near(name, known) or f" (there are {', '.join(sorted(known))})"
        raise RecipeError(f"{PAPER}{name}: no suite has a row of this name{hint}")
    if not found:
        raise RecipeError(
            f"{a.model} has no whole task, with the paper's shots, samples and metric, that the "
            f"paper has for {name}"
        )
    return found, differs


def _beside(row: Row, paper: float) -> Beside:
    variance = paper * (1 - paper) / row["items"] + (row["stderr"] or 0.0) ** 2
    return Beside(
        row["task"], row["metric"], row["value"], paper, math.sqrt(variance), row["items"]
    )
