"""Scores that somebody pushed, read again: all aggregates from the items alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moxin_recipes.hub.pull import Parent, download, resolve
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import records
from moxin_recipes.scores.aggregates import group_scores, scores_of

Row = dict[str, Any]
_NUMBERS = ("value", "stderr", "low", "high")


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
    folder = download(parent, [records.UNITS, "test.parquet", "items/*"])
    if not (folder / records.UNITS).exists():
        raise RecipeError(f"{written}: no scores there ({records.UNITS} is missing)")
    units = [unit for unit in records.read_units(folder) if not unit["failed"]]
    table = pq.read_table(folder / "test.parquet").to_pylist()
    return Published(parent, folder, units, records.read_groups(folder), table)


def wrong(scores: Published) -> Iterator[str]:
    """A sentence for each item that was edited, and for each score that its items do not give."""
    yield from records.edited(scores.folder, scores.units)
    again: dict[str, Row] = {}
    for unit in scores.units:
        if not (scores.folder / unit["items"]).exists():
            continue
        made = scores_of(unit["metrics"], scores.items(unit))
        again[unit["key"]] = {**unit, "scores": made}
        yield from _differences(unit, "units.json", made, unit["scores"])
        for row in scores.table:
            if row["unit"] == unit["key"][:12]:
                yield from _differences(unit, "test.parquet", made, [row])
    for group in scores.groups:
        parts = [again[key] for key in group["units"] if key in again]
        rows = [row for row in scores.table if row["unit"] == group["key"][:12]]
        if len(parts) == len(group["units"]):
            made = group_scores(group["aggregates"], parts)
            yield from _differences(group, "test.parquet", made, rows)


def _differences(unit: Row, where: str, made: list[Row], said: list[Row]) -> Iterator[str]:
    """What `where` says of scores that items give otherwise."""
    by_name = {named(score): score for score in made}
    for score in said:
        name = score["metric"] if "filter" not in score else named(score)
        for number in _NUMBERS if name in by_name else ():
            a, b = score[number], by_name[name][number]
            same = a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-12))
            if not same:
                yield (
                    f"{where}: {unit['task']} on {unit['model']}: {name}, {number} is {a}; its "
                    f"items give {b}"
                )


def named(score: Row) -> str:
    """`acc`, or with the filter of the answers where a task has several: `acc (strict)`."""
    kind = score["filter"]
    return str(score["metric"]) if kind == "none" else f"{score['metric']} ({kind})"
