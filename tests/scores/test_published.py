"""Pushed scores: computed again from items alone, and whatever was edited is named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tests.conftest import Workplace
from tests.scores.written import ACC, Scored, moxin, push, scored, write

from moxin_recipes.hub.splits import write_split
from moxin_recipes.scores import records

PASS = {"metric": "pass@2", "filter": "none", "of": "pass", "aggregation": "pass@2"}
DRAWN = {"metric": "ppl", "filter": "none", "of": "ppl", "aggregation": "perplexity"}
OWN = {"metric": "own", "filter": "none", "of": "own", "aggregation": "function"}


def some_scores(folder: Path) -> Path:
    """Shares, pass@2, a perplexity, a function of a task, and a group asked with 0 and 5 shots."""
    made: list[Scored] = [
        scored("base@a", "sums", [[1.0], [0.0], [1.0]]),
        scored("base@a", "twins", [[float(n % 3 == 0)] for n in range(8)]),
        scored("base@a", "code", [[float(k < n) for k in range(4)] for n in range(4)], PASS),
        scored("base@a", "text", [[-1.0], [-2.0], [-2.5]], DRAWN),
        scored("base@a", "free", [[1.0], [3.0]], OWN, ACC),
        scored("base@a", "sums", [[1.0], [1.0], [1.0]], shots=5),
        scored("base@a", "twins", [[0.0]] * 8, shots=5),
    ]
    return write(folder, made, {"both/0": made[:2], "both/5": made[5:]})


def test_all_aggregates_come_of_the_items(bench: Workplace, tmp_path: Path) -> None:
    push(bench, {"whole": some_scores(tmp_path / "made")})
    done = moxin(bench, "scores", "whole")
    assert done.returncode == 0, done.stderr
    assert "7 scores computed again from 43 items: every one is the same" in done.stdout
    assert "1 more are by functions of their tasks: not computed again" in done.stdout
    read = moxin(bench, "scores", "whole", "--json")
    said = json.loads(read.stdout)
    assert said["wrong"] == []
    shots = [row["shots"] for row in said["scores"] if row["task"] == "both"]
    assert shots == [0, 5]


def edits(folder: Path) -> Iterator[tuple[str, str]]:
    """Edits one thing of the folder each time; what `moxin scores` has to say of it."""
    path = folder / "items" / "test-00001.parquet"
    rows = records.read_items(path)
    records.write_items(path, [rows[0], rows[1] | {"scores": '{"acc": 1.0}'}, *rows[2:]])
    yield "item", "test-00001.parquet: twins on base@a: document 1, sample 0 was edited"
    records.write_items(path, rows[1:])
    yield "less", "twins on base@a: document 0, sample 0 is gone"
    path.unlink()
    yield "gone", "twins on base@a: its items cannot be read (FileNotFoundError)"
    records.write_items(path, rows)
    yield from unit_edits(folder)
    yield from table_edits(folder)


def unit_edits(folder: Path) -> Iterator[tuple[str, str]]:
    units, groups = records.read_units(folder), records.read_groups(folder)
    changes: list[tuple[str, Any, str]] = [
        ("scores", [units[0]["scores"][0] | {"value": 0.9}], "acc, value is 0.9; its items give"),
        ("scores", [units[0]["scores"][0] | {"metric": "f1"}], "f1 is no score of its items"),
        ("scores", [], "acc is missing"),
        ("problems", 4, "problems is 4; its items give 3"),
        ("settings", units[0]["settings"] | {"shots": 25}, "its settings do not fit its key"),
    ]
    for number, (name, value, said) in enumerate(changes):
        records.write_units(folder, [units[0] | {name: value}, *units[1:]], groups)
        yield f"unit-{number}", f"units.json: sums on base@a: {said}"
    records.write_units(folder, units, groups)


def table_edits(folder: Path) -> Iterator[tuple[str, str]]:
    table = pq.read_table(folder / "test.parquet").to_pylist()
    changes = [(2, "code", "low", 0.5), (0, "sums", "shots", 25), (-1, "both", "items", 9)]
    changes += [(0, "sums", "clean_value", 0.9), (1, "twins", "dataset_commit", "c2")]
    for number, task, column, value in changes:
        row = table[number]
        write_split(folder, "test", [row | {column: value} if r is row else r for r in table])
        said = f"test.parquet: {task} on base@a: {row['metric']}, {column} is {value}"
        yield f"{task}-{column}", said
    write_split(folder, "test", table[1:])
    yield "row", "test.parquet: sums on base@a: acc is missing"
    write_split(folder, "test", table[:-1])
    yield "group", "test.parquet: both on base@a: acc is missing"
    write_split(folder, "test", [*table, table[0] | {"metric": "acc_norm", "value": 1.0}])
    yield "another", "test.parquet: sums on base@a: acc_norm is no score of units.json"
    (folder / "test.parquet").unlink()
    yield "table", "test.parquet: sums on base@a: acc is missing"


def test_whatever_is_edited_is_said(bench: Workplace, tmp_path: Path) -> None:
    folder = some_scores(tmp_path / "made")
    wanted = {}
    for what, said in edits(folder):
        shutil.copytree(folder, tmp_path / what)
        wanted[what] = said
    push(bench, {what: tmp_path / what for what in wanted})
    for what, said in wanted.items():
        done = moxin(bench, "scores", what)
        assert done.returncode == 1, what
        assert said in done.stderr, done.stderr
        others = {"unit-1": 1, "table": 9}  # sentences on what else that is
        assert done.stderr.count("base@a") == 1 + others.get(what, 0), done.stderr


def test_what_is_no_repository_of_scores_is_said(bench: Workplace, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no scores")
    push(bench, {"other": tmp_path})
    done = moxin(bench, "scores", "other")
    assert done.returncode == 1
    assert "other: no scores there (units.json is missing)" in done.stderr
    done = moxin(bench, "compare", "nobody:x", "nobody:y")
    assert done.returncode == 1
    assert "no such repository" in done.stderr
