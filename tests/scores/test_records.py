"""Items keep their digests in a file, and whatever is done to them is said of the item."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moxin_recipes.scores import records

Row = dict[str, Any]
SETTINGS = {"samples": 2, "shots": 5}


def item(document: int, sample: int, kind: str, **more: Any) -> Row:
    row = {"unit": "u" * 12, "task": "sums", "doc_id": document, "sample": sample, "filter": kind}
    return records.sealed(row | {"scores": json.dumps({"acc": 1.0}), "prompt_cut": False} | more)


@pytest.mark.parametrize(
    "more",
    [
        {"loglikelihoods": [math.nan, math.inf, -math.inf, -0.0, 1e-310, 0.1 + 0.2]},
        {"loglikelihoods": [-1, 0, 2**53]},  # whole numbers, which a file gives back as floats
        {"loglikelihoods": [None, -1.5]},
        {"loglikelihoods": []},
        {"raw": "ä \u2028 \x00 \U0001f600", "target": "\\boxed{½}"},
        {"scores": json.dumps({"acc": math.nan, "f1": [1, 0]}), "clean": "found"},
        {},
    ],
)
def test_a_file_gives_back_what_was_sealed(tmp_path: Path, more: Row) -> None:
    row = item(0, 0, "none", **more)
    records.write_items(tmp_path / "items.parquet", [row])
    (back,) = records.read_items(tmp_path / "items.parquet")
    assert back["row_digest"] == row["row_digest"] == records.sealed(back)["row_digest"]
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


@pytest.mark.parametrize("column", [name for name in records.SCHEMA.names if name != "row_digest"])
def test_every_column_counts(column: str) -> None:
    others = {"doc_id": 7, "sample": 1, "loglikelihoods": [-2.0], "prompt_cut": True}
    row = item(0, 0, "none")
    changed = records.sealed(row | {column: others.get(column, "other")})
    assert changed["row_digest"] != row["row_digest"]


def whole(folder: Path) -> tuple[list[Row], Row]:
    """A unit of three documents, two samples and two filters, with its items."""
    rows = [
        item(document, sample, kind)
        for sample in range(2)
        for kind in ("strict", "loose")
        for document in range(3)
    ]
    unit = {"task": "sums", "model": "base@a", "payload": "p", "settings": SETTINGS}
    unit |= {"key": records.key_of("p", "sums", SETTINGS), "items": "items.parquet", "failed": None}
    unit |= {"digest": records.digest(rows), "problems": 3}
    records.write_items(folder / "items.parquet", rows)
    return rows, unit


def edit(row: Row) -> Row:
    return row | {"scores": json.dumps({"acc": 0.0})}


CHANGES: dict[str, tuple[Callable[[list[Row]], list[Row]], list[str]]] = {
    "edited": (
        lambda rows: [*rows[:4], edit(rows[4]), *rows[5:]],
        ["document 1, sample 0, filter loose was edited"],
    ),
    "sealed again": (
        lambda rows: [records.sealed(edit(rows[0])), *rows[1:]],
        ["items were added, left out, or edited and sealed again"],
    ),
    "gone": (
        lambda rows: [row for row in rows if (row["doc_id"], row["sample"]) != (2, 1)],
        [
            "document 2, sample 1, filter strict is gone",
            "document 2, sample 1, filter loose is gone",
        ],
    ),
    "twice": (
        lambda rows: [*rows[:2], rows[1], *rows[2:]],
        ["document 1, sample 0, filter strict is there twice"],
    ),
    "moved": (
        lambda rows: [rows[0], rows[2], rows[1], *rows[3:]],
        ["document 1, sample 0, filter strict stands after document 2, sample 0, filter strict"],
    ),
    "new": (
        lambda rows: [*rows, item(3, 1, "loose")],
        ["document 3, sample 1, filter loose was added"],
    ),
    "emptied": (lambda rows: [], ["items were added, left out, or edited and sealed again"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_to_items_is_said(tmp_path: Path, change: str) -> None:
    rows, unit = whole(tmp_path)
    assert list(records.edited(tmp_path, [unit])) == []
    act, said = CHANGES[change]
    records.write_items(tmp_path / "items.parquet", act(rows))
    where = "items.parquet: sums on base@a: "
    assert list(records.edited(tmp_path, [unit])) == [where + one for one in said]


def test_what_was_done_to_units_is_said(tmp_path: Path) -> None:
    _, unit = whole(tmp_path)
    other = unit | {"settings": SETTINGS | {"shots": 0}}
    (said,) = records.edited(tmp_path, [other])
    assert said == "units.json: sums on base@a: its settings do not fit its key"
    (tmp_path / "items.parquet").write_text("no parquet")
    (said,) = records.edited(tmp_path, [unit])
    assert said.startswith("items.parquet: sums on base@a: its items cannot be read")
    pq.write_table(pa.table({"doc_id": [0, 1]}), tmp_path / "items.parquet")
    (said,) = records.edited(tmp_path, [unit])
    assert said == "items.parquet: sums on base@a: its items cannot be read (ArrowInvalid)"
    (tmp_path / "items.parquet").unlink()
    (said,) = records.edited(tmp_path, [unit])
    assert said == "items.parquet: sums on base@a: its items cannot be read (FileNotFoundError)"
