"""Scores as a folder for the Hub: a table, the units, and their items."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from moxin_recipes.hub.files import clear
from moxin_recipes.hub.splits import write_split
from moxin_recipes.recipe.benchmarks import Group
from moxin_recipes.scores import curve, records
from moxin_recipes.scores.rows import ABSENT, of_group, of_unit
from moxin_recipes.scores.units import Line, Record, Store

Failed = dict[str, str]  # key of a unit → why


def write(folder: Path, lines: list[Line], store: Store, failed: Failed) -> dict[str, Any]:
    """Writes what is scored so far; the manifest's facts of it.

    A line that failed is a row with its reason; one that nobody has scored yet is no row.
    """
    clear(folder)
    (folder / "items").mkdir()
    whole: dict[str, Record] = {}
    rows, groups = [], []
    for line in lines:
        units = [(unit, store.get(unit.key)) for unit in line.units]
        for unit, record in units:
            if record is None:
                if unit.key in failed:
                    rows.append(_failed(line, unit.leaf.name, unit.key, failed[unit.key]))
                    whole[unit.key] = unit.record(failed=failed[unit.key])
                continue
            if unit.key not in whole:
                name = f"items/test-{len(whole):05d}.parquet"
                shutil.copy(store.items(unit.key), folder / name)
                # Another name or commit of the same weights is the same unit.
                whole[unit.key] = record | unit.record(items=name)
            rows += [_asked(line) | row for row in of_unit(whole[unit.key])]
        if line.failed:
            rows.append(_failed(line, str(line.asked.task), None, line.failed))
        done = [record for _, record in units if record is not None]
        for group in line.groups if len(done) == len(units) else []:
            if not group.aggregates:
                continue
            parts = [record for record in done if record["task"] in group.leaves]
            keys = [record["key"] for record in parts]
            items = [records.read_items(store.items(key)) for key in keys]
            named = {"key": _group_key(line, group), "model": line.model, "task": group.name}
            groups.append({**named, "units": keys, "aggregates": group.aggregates})
            rows += [_asked(line) | row for row in of_group(groups[-1], parts, items)]
    records.write_units(folder, list(whole.values()), groups)
    write_split(folder, "test", rows)
    shown = headlines(lines, rows)
    return {
        "summary": "Scores of models, with the items that they are computed from.",
        "metrics": metrics(rows),
        "scores": shown,
        "curve": curve.points(lines, shown),
    }


def _asked(line: Line) -> Record:
    asked = line.asked
    return {
        "model": line.model,
        "commit": line.parent.commit,
        "chat": asked.chat,
        "samples": asked.samples,
    }


def _failed(line: Line, task: str, key: str | None, why: str) -> Record:
    return {**_asked(line), "task": task, **ABSENT, "unit": key and key[:12], "failed": why}


def _group_key(line: Line, group: Group) -> str:
    """The name that tables and `units.json` have for a group of these very units."""
    whole = [group.name, *(unit.key for unit in line.units)]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def metrics(rows: list[Record]) -> dict[str, float | None]:
    """Each score, its error and interval by `MODEL/TASK/SHOTS-shot[-chat]/METRIC`; `_clean` too.

    Where two rows would have one name (other samples, another length), the unit tells them apart.
    """
    named: dict[str, float | None] = {}
    for row in rows:
        if row["failed"]:
            continue
        how = f"{row['shots']}-shot{'-chat' if row['chat'] else ''}"
        name = f"{row['model']}/{row['task']}/{how}/{row['metric']}"
        if name in named:
            name = f"{name}@{row['unit']}"
        named[name] = row["value"]
        for end in ("stderr", "low", "high"):
            named[f"{name}_{end}"] = row[end]
        if row["clean_value"] is not None:
            named |= {f"{name}_clean": row["clean_value"]}
            named |= {f"{name}_clean_stderr": row["clean_stderr"]}
    return {name: None if v is None else round(v, 4) for name, v in named.items()}


def headlines(lines: list[Line], rows: list[Record]) -> list[Record]:
    """The one score that tables show of each task or group: of the line's metric, or the first."""
    shown = []
    for line in lines:
        for task, key in _names(line):
            of_line = [
                row
                for row in rows
                if (row["model"], row["task"], row["unit"]) == (line.model, task, key)
            ]
            wanted = [row for row in of_line if row["metric"] == line.asked.metric] or of_line
            shown += [{column: row[column] for column in _SHOWN} for row in wanted[:1]]
    return shown


_SHOWN = ("model", "task", "metric", "value", "low", "high", "items", "shots", "failed")


def _names(line: Line) -> list[tuple[str, str | None]]:
    """What rows call a line, and their unit: its group, if that has a score, else its tasks."""
    if line.groups and line.groups[-1].aggregates:
        group = line.groups[-1]
        return [(group.name, _group_key(line, group)[:12])]
    units = [(unit.leaf.name, unit.key[:12]) for unit in line.units]
    return [*units] or [(str(line.asked.task), None)]


def failures(lines: list[Line], failed: Failed) -> list[str]:
    """`TASK on MODEL: why`, for each task that has no score."""
    named = [f"{line.asked.task} on {line.model}: {line.failed}" for line in lines if line.failed]
    units = {unit.key: unit for line in lines for unit in line.units}
    return named + [
        f"{units[key].leaf.name} on {units[key].model}: {why}" for key, why in failed.items()
    ]
