"""Scores that somebody pushed, read again: all aggregates from the items alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moxin_recipes.hub.cards.tables import named
from moxin_recipes.hub.pull import Parent, download, resolve
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import records, rows
from moxin_recipes.scores.aggregates import OWN, scores_of

Row = dict[str, Any]
TABLE = "test.parquet"


@dataclass(frozen=True)
class Published:
    """A scores repository at a commit: its units, groups and table, and the folder of its items."""

    parent: Parent
    folder: Path
    units: list[Row]
    groups: list[Row]
    table: list[Row]

    def items(self, unit: Row) -> list[Row]:
        """The items of one of its units."""
        return records.read_items(self.folder / unit["items"])


def read(written: str) -> Published:
    """`REPOSITORY[@REVISION]` of a dataset; RecipeError where it holds no scores of this form."""
    repo, _, revision = written.partition("@")
    parent = resolve(Reference("scores", "dataset", repo, revision or "main"))
    folder = download(parent, [records.UNITS, TABLE, "items/*"])
    if not (folder / records.UNITS).exists():
        raise RecipeError(f"{written}: no scores there ({records.UNITS} is missing)")
    units = [unit for unit in records.read_units(folder) if not unit["failed"]]
    table = pq.read_table(folder / TABLE).to_pylist() if (folder / TABLE).exists() else []
    return Published(parent, folder, units, records.read_groups(folder), table)


def wrong(scores: Published) -> Iterator[str]:
    """A sentence for each item that was edited, and for each number that its items do not give.

    Of a unit whose items were edited, the items alone are named.
    """
    again: dict[str, Row] = {}
    for unit in scores.units:
        edits = list(records.edited(scores.folder, [unit]))
        yield from edits
        if not edits:
            again[unit["key"]] = made = _again(unit, scores.items(unit))
            yield from _of_unit(unit, made)
    yield from _of_table(scores, again)


def by_functions(unit: Row) -> list[Row]:
    """The scores of a unit by functions of its task, which its items alone do not give."""
    own = [named(metric) for metric in unit["metrics"] if metric["aggregation"] == OWN]
    return [score for score in unit["scores"] if named(score) in own]


def _again(unit: Row, items: list[Row]) -> Row:
    """The unit as its items have it."""
    made = scores_of(unit["metrics"], items) + by_functions(unit)
    return {**unit, "problems": len({row["doc_id"] for row in items}), "scores": made}


def _of_unit(unit: Row, made: Row) -> Iterator[str]:
    """What a unit says otherwise than its items."""
    where = f"{records.UNITS}: {unit['task']} on {unit['model']}: "
    said, given = ({named(score): score for score in one["scores"]} for one in (unit, made))
    for name in dict.fromkeys([*said, *given]):
        if name in said and name in given:
            yield from (where + one for one in _unlike(name, said[name], given[name]))
        else:
            yield f"{where}{name} is {'no score of its items' if name in said else 'missing'}"
    if unit["problems"] != made["problems"]:
        yield f"{where}problems is {unit['problems']}; its items give {made['problems']}"


def _of_table(scores: Published, again: dict[str, Row]) -> Iterator[str]:
    """What the table says otherwise than the units and groups that are as they were."""
    expected = {}  # by model and place
    edited = {unit["key"][:12] for unit in scores.units if unit["key"] not in again}
    for unit in again.values():
        for row in rows.of_unit(unit):
            expected[unit["model"], *_place(row)] = row
    for group in scores.groups:
        if not again.keys() >= set(group["units"]):
            edited.add(group["key"][:12])
            continue
        parts = [again[key] for key in group["units"]]
        items = [scores.items(unit) for unit in parts]
        for row in rows.of_group(group, parts, items):
            expected[group["model"], *_place(row)] = row
    # The same weights have one unit, under whatever name a row has them.
    places = {wanted[1:]: row for wanted, row in expected.items()}
    for row in scores.table:
        where = f"{TABLE}: {row['task']} on {row['model']}: "
        if row["failed"] or row["unit"] in edited:
            continue
        if _place(row) in places:
            yield from (where + one for one in _unlike(row["metric"], row, places[_place(row)]))
        else:
            yield f"{where}{row['metric']} is no score of {records.UNITS}"
    there = {(row["model"], *_place(row)) for row in scores.table}
    for model, _, task, metric in [wanted for wanted in expected if wanted not in there]:
        yield f"{TABLE}: {task} on {model}: {metric} is missing"


def _place(row: Row) -> tuple[str, str, str]:
    """What a row of the table is the score of."""
    return row["unit"], row["task"], row["metric"]


def _unlike(name: str, said: Row, given: Row) -> Iterator[str]:
    """The numbers and settings in which a score is not what it should be."""
    for column in sorted(given):
        a, b = said.get(column), given[column]
        if a != b and not (isinstance(a, float) and isinstance(b, float) and _close(a, b)):
            yield f"{name}, {column} is {a}; its items give {b}"


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-12) or (math.isnan(a) and math.isnan(b))
