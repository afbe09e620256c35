"""Two models on the same items: a difference never lacks its error."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moxin_recipes.hub.cards.tables import named
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.published import Published, read
from moxin_recipes.scores.statistics import Pairing, paired, pass_at

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A task of one model, or a group of tasks that is one score over all their items."""

    name: str
    units: dict[str, Row]  # by the names of the tasks that it is made of
    metrics: list[Row]

    @property
    def shots(self) -> int | None:
        """Of all its units; None where they differ."""
        shots = {unit["settings"]["shots"] for unit in self.units.values()}
        return min(shots) if len(shots) == 1 else None


@dataclass(frozen=True)
class Side:
    """One model of a scores repository."""

    scores: Published
    model: str

    @property
    def tasks(self) -> list[Task]:
        """Groups that weigh items alike, each as one, and the tasks that are in none of them."""
        units = {one["key"]: one for one in self.scores.units if one["model"] == self.model}
        groups = []
        for group in self.scores.groups:
            wanted = {w["metric"] for w in group["aggregates"] if w.get("weight_by_size", True)}
            if wanted and units.keys() >= set(group["units"]):
                parts = {units[key]["task"]: units[key] for key in group["units"]}
                first = next(iter(parts.values()))
                metrics = [one for one in first["metrics"] if one["metric"] in wanted]
                groups.append(Task(group["task"], parts, metrics))
        inside = {unit["key"] for group in groups for unit in group.units.values()}
        alone = [unit for key, unit in units.items() if key not in inside]
        return groups + [Task(one["task"], {one["task"]: one}, one["metrics"]) for one in alone]


@dataclass(frozen=True)
class Pair:
    """One metric of one task on both sides; `differs` names settings, `apart` counts items."""

    task: str
    metric: str
    shots: tuple[int | None, int | None]
    values: tuple[float, float]
    pairing: Pairing
    apart: tuple[int, int]
    differs: list[str]
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """Which one is better, or `noise`."""
        return self.pairing.verdict(self.higher_is_better)


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


def pairs(a: Side, b: Side) -> tuple[list[Pair], list[str]]:
    """Each metric of each task that both sides were asked, on the items that they share.

    Beside them, in sentences, the metrics that are no means over items and so have no pairs.
    """
    found: list[Pair] = []
    left_out: list[str] = []
    for task in a.tasks:
        others = [other for other in b.tasks if other.name == task.name]
        if others:
            other = min(others, key=lambda one: len(_differ(task, one)))
            theirs = {named(metric) for metric in other.metrics}
            common = [metric for metric in task.metrics if named(metric) in theirs]
            means = [metric for metric in common if _is_mean(metric)]
            left_out += [
                f"not compared: {task.name}: {named(metric)} is no mean over items"
                for metric in common
                if metric not in means
            ]
            found += _of_task(a, task, b, other, means)
    if not found:
        raise RecipeError(
            "; ".join([f"{a.model} and {b.model} have no task and item in common", *left_out])
        )
    return found, left_out


def _is_mean(metric: Row) -> bool:
    return str(metric["aggregation"]).partition("@")[0] in ("mean", "pass")


def _of_task(a: Side, task: Task, b: Side, other: Task, metrics: Sequence[Row]) -> Iterator[Pair]:
    rows = [
        [(name, side.scores.items(unit)) for name, unit in one.units.items()]
        for side, one in ((a, task), (b, other))
    ]
    for metric in metrics:
        left, right = (_problems(metric, items) for items in rows)
        common = [key for key in left if key in right]
        if common:
            values = [sum(one[key] for key in common) / len(common) for one in (left, right)]
            yield Pair(
                task=task.name,
                metric=named(metric),
                shots=(task.shots, other.shots),
                values=(values[0], values[1]),
                pairing=paired(left, right),
                apart=(len(left) - len(common), len(right) - len(common)),
                differs=_differ(task, other),
                higher_is_better=metric.get("higher_is_better") is not False,
            )


def _problems(metric: Row, items: list[tuple[str, list[Row]]]) -> dict[tuple[str, str, int], float]:
    """(Task, document, turn) → its mean, or its pass@k; the turn tells like documents apart."""
    problems = {}
    for task, rows in items:
        samples: dict[int, list[float]] = {}
        digests = {}
        for row in rows:
            value = json.loads(row["scores"]).get(metric["of"])
            if row["filter"] == metric["filter"] and value is not None:
                samples.setdefault(row["doc_id"], []).append(float(value))
                digests[row["doc_id"]] = row["digest"]
        turns: Counter[str] = Counter()
        for document, values in samples.items():
            digest = digests[document]
            problems[task, digest, turns[digest]] = _of_problem(metric["aggregation"], values)
            turns[digest] += 1
    return problems


def _of_problem(aggregation: str, samples: list[float]) -> float:
    _, passes, k = aggregation.partition("pass@")
    if passes:
        return pass_at(int(k), len(samples), sum(value > 0 for value in samples))
    return sum(samples) / len(samples)


def _differ(a: Task, b: Task) -> list[str]:
    """The settings in which two tasks were asked otherwise."""
    found = []
    for name in [name for name in a.units if name in b.units]:
        left, right = a.units[name]["settings"], b.units[name]["settings"]
        found += [
            f"{key} {_short(left.get(key))} / {_short(right.get(key))}"
            for key in sorted(left.keys() | right.keys())
            if left.get(key) != right.get(key)
        ]
    return list(dict.fromkeys(found))


def _short(value: Any) -> str:
    if isinstance(value, dict) and "commit" in value:
        return f"{value['path']}@{str(value['commit'])[:12]}"
    return str(value)[:40]
