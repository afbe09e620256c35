"""The files of scores: items as parquet, each with its digest, and units as JSON."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moxin_recipes.hub.files import write_json

Row = dict[str, Any]
UNITS = "units.json"
# One row for each document, sample and filter of a task.
SCHEMA = pa.schema(
    [
        ("unit", pa.string()),  # first 12 of the unit's key
        ("task", pa.string()),
        ("doc_id", pa.int64()),
        ("sample", pa.int64()),
        ("filter", pa.string()),  # of lm-eval's; `none` where there is one way to read an answer
        ("digest", pa.string()),  # of the document
        ("prompt_hash", pa.string()),
        ("target", pa.string()),
        ("raw", pa.string()),  # all that was written, thoughts included; null for likelihoods
        ("extracted", pa.string()),  # the answer that was scored; null where none was found
        ("scores", pa.string()),  # JSON: metric → number
        ("loglikelihoods", pa.list_(pa.float64())),  # nats, of each choice
        ("finish", pa.string()),  # stop or length
        ("prompt_cut", pa.bool_()),
        ("clean", pa.string()),  # what decontamination found; null where nobody searched
        ("row_digest", pa.string()),
    ]
)


def sealed(row: Row) -> Row:
    """The row with the digest of all its other columns: sha256 (hex) of their JSON."""
    rest = {name: row.get(name) for name in SCHEMA.names if name != "row_digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True)
    return rest | {"row_digest": hashlib.sha256(text.encode()).hexdigest()}


def digest(rows: Sequence[Row]) -> str:
    """sha256 (hex) of the rows' digests, in their order."""
    return hashlib.sha256("".join(row["row_digest"] for row in rows).encode()).hexdigest()


def write_items(path: Path, rows: Sequence[Row]) -> None:
    """Writes all of them, or leaves what was there."""
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), temporary)
    temporary.replace(path)


def read_items(path: Path) -> list[Row]:
    """The rows of a file of items."""
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def write_units(folder: Path, units: Sequence[Row], groups: Sequence[Row]) -> None:
    """Writes `units.json`; a group is {model, task, aggregates, units: their keys}."""
    write_json(folder / UNITS, {"format": 1, "units": list(units), "groups": list(groups)})


def read_units(folder: Path) -> list[Row]:
    """The units of a folder of scores."""
    units: list[Row] = json.loads((folder / UNITS).read_text(encoding="utf-8"))["units"]
    return units


def read_groups(folder: Path) -> list[Row]:
    """The groups of a folder of scores."""
    groups: list[Row] = json.loads((folder / UNITS).read_text(encoding="utf-8"))["groups"]
    return groups


def edited(folder: Path, units: Sequence[Row]) -> Iterator[str]:
    """A sentence for each item, or set of items, that is not what its unit was scored on."""
    for unit in units:
        if unit["failed"]:
            continue
        path = folder / unit["items"]
        if not path.exists():
            yield f"{unit['items']}: the items of {unit['task']} on {unit['model']} are not there"
            continue
        rows = read_items(path)
        changed = [row for row in rows if sealed(row)["row_digest"] != row["row_digest"]]
        for row in changed:
            yield (
                f"{unit['items']}: {unit['task']} on {unit['model']}, document {row['doc_id']}, "
                f"sample {row['sample']} was edited"
            )
        if not changed and digest(rows) != unit["digest"]:
            yield (
                f"{unit['items']}: {unit['task']} on {unit['model']}: items were added, left out, "
                "put in another order, or edited and sealed again"
            )
