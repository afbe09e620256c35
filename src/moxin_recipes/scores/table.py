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
from moxin_recipes.scores.aggregates import clean, group_scores
from moxin_recipes.scores.published import named
from moxin_recipes.scores.units import Line, Record, Store

Failed = dict[str, str]  # key of a unit → why
_COUNTS = ("prompts_cut", "at_limit", "unclosed_thoughts", "nothing_extracted")


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
            rows += [_row(line, whole[unit.key], score) for score in record["scores"]]
        if line.failed:
            rows.append(_failed(line, str(line.asked.task), None, line.failed))
        done = [record for _, record in units if record is not None]
        for group in line.groups if len(done) == len(units) else []:
            parts = [record for record in done if record["task"] in group.leaves]
            rows += _of_group(line, group, parts, store)
            keys = [record["key"] for record in parts]
            named = {"key": _group_key(line, group), "model": line.model, "task": group.name}
            groups.append({**named, "units": keys, "aggregates": group.aggregates})
    records.write_units(folder, list(whole.values()), groups)
    write_split(folder, "test", rows)
    shown = headlines(lines, rows)
    return {
        "summary": "Scores of models, with the items that they are computed from.",
        "metrics": metrics(rows),
        "scores": shown,
        "curve": curve.points(lines, shown),
    }


def _row(line: Line, record: Record, score: Record) -> Record:
    """One metric of one unit."""
    settings = record["settings"]
    return {
        **_asked(line),
        "task": record["task"],
        "metric": named(score),
        **{name: score.get(name) for name in ("value", "stderr", "low", "high")},
        "items": record["problems"],
        "shots": settings["shots"],
        "whole": record["whole"],
        **{name: record["counts"][name] for name in _COUNTS},
        **{f"clean_{name}": score.get(f"clean_{name}") for name in _CLEAN},
        "dataset": settings["dataset"]["path"],
        "dataset_commit": settings["dataset"]["commit"],
        "unit": record["key"][:12],
        "failed": None,
    }


_CLEAN = ("value", "stderr", "items", "note")
_ABSENT = dict.fromkeys(
    [
        *("metric", "value", "stderr", "low", "high", "items", "shots", "whole", *_COUNTS),
        *(f"clean_{name}" for name in _CLEAN),
        *("dataset", "dataset_commit", "unit", "failed"),
    ]
)


def _asked(line: Line) -> Record:
    asked = line.asked
    return {
        "model": line.model,
        "commit": line.parent.commit,
        "chat": asked.chat,
        "samples": asked.samples,
    }


def _failed(line: Line, task: str, key: str | None, why: str) -> Record:
    return {**_asked(line), "task": task, **_ABSENT, "unit": key and key[:12], "failed": why}


def _group_key(line: Line, group: Group) -> str:
    """The name that tables and `units.json` have for a group of these very units."""
    whole = [group.name, *(unit.key for unit in line.units)]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _of_group(line: Line, group: Group, parts: list[Record], store: Store) -> list[Record]:
    """The scores of a group over its tasks, and over the clean items of all of them."""
    shots = {record["settings"]["shots"] for record in parts}
    return [
        {
            **_asked(line),
            "task": group.name,
            **_ABSENT,
            "unit": _group_key(line, group)[:12],
            "metric": named(score),
            **{name: score.get(name) for name in ("value", "stderr", "low", "high")},
            "items": sum(record["problems"] for record in parts),
            "shots": shots.pop() if len(shots) == 1 else None,
            "whole": all(record["whole"] for record in parts),
            **{name: sum(record["counts"][name] for record in parts) for name in _COUNTS},
            **clean(
                score | {"of": score["metric"], "aggregation": "mean"},
                [row for row in _items(parts, store) if row["filter"] == score["filter"]],
            ),
        }
        for score in group_scores(group.aggregates, parts)
    ]


def _items(parts: list[Record], store: Store) -> list[Record]:
    """The items of several units, each document with a number of its own."""
    return [
        row | {"doc_id": (number, row["doc_id"])}
        for number, record in enumerate(parts)
        for row in records.read_items(store.items(record["key"]))
    ]


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
