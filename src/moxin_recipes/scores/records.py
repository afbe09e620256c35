"""The files of scores: items as parquet, each with its digest, and units as JSON."""

import hashlib
import itertools
import json
from collections import Counter
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
    """The row with the digest of all its other columns: sha256 (hex) of their JSON.

    It is the same for the row that a file gives back: a column that is absent is null, and
    log-likelihoods are floats.
    """
    rest = {name: row.get(name) for name in SCHEMA.names if name != "row_digest"}
    if rest["loglikelihoods"] is not None:
        rest["loglikelihoods"] = [v if v is None else float(v) for v in rest["loglikelihoods"]]
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
    """The rows of a file of items; pa.ArrowInvalid for any other columns."""
    table = pq.read_table(path)
    if table.schema.names != SCHEMA.names or table.schema.types != SCHEMA.types:
        raise pa.ArrowInvalid(f"{path}: no items")
    rows: list[Row] = table.to_pylist()
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


def key_of(payload: str, task: str, settings: Row) -> str:
    """The key of a unit: sha256 (hex) of the model's payload, the task and the settings."""
    text = json.dumps([payload, task, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def edited(folder: Path, units: Sequence[Row]) -> Iterator[str]:
    """A sentence for each item, or set of items, that is not what its unit was scored on.

    Rows stand by sample, then by filter, then by document; what breaks that order is named.
    """
    for unit in units:
        if unit["failed"]:
            continue
        where = f"{unit['items']}: {unit['task']} on {unit['model']}"
        if key_of(unit["payload"], unit["task"], unit["settings"]) != unit["key"]:
            yield f"{UNITS}: {unit['task']} on {unit['model']}: its settings do not fit its key"
        try:
            rows = read_items(folder / unit["items"])
        except (OSError, pa.ArrowException) as error:
            yield f"{where}: its items cannot be read ({type(error).__name__})"
            continue
        yield from (f"{where}: {sentence}" for sentence in _changes(rows, unit))


def _changes(rows: list[Row], unit: Row) -> Iterator[str]:
    """What was done to the rows, as far as they tell."""
    again = [sealed(row) for row in rows]
    if digest(again) == unit["digest"] == digest(rows):
        return
    kinds = list(dict.fromkeys(row["filter"] for row in rows))
    places = [(row["sample"], kinds.index(row["filter"]), row["doc_id"]) for row in rows]
    said = [
        f"{_named(row)} was edited"
        for row, fresh in zip(rows, again, strict=True)
        if fresh["row_digest"] != row["row_digest"]
    ]
    counts = Counter(places)
    twice = {place: row for row, place in zip(rows, places, strict=True) if counts[place] > 1}
    said += [f"{_named(row)} is there twice" for row in twice.values()]
    for before, after in itertools.pairwise(range(len(rows))):
        if places[after] < places[before]:
            said.append(f"{_named(rows[after])} stands after {_named(rows[before])}")
    sides = range(unit["settings"]["samples"]), range(len(kinds)), range(unit["problems"])
    whole = list(itertools.product(*sides))
    for sample, kind, document in whole:
        if (sample, kind, document) not in counts:
            missing = {"doc_id": document, "sample": sample, "filter": kinds[kind]}
            said.append(f"{_named(missing)} is gone")
    known = set(whole)
    added = [row for row, place in zip(rows, places, strict=True) if place not in known]
    said += [f"{_named(row)} was added" for row in added]
    yield from said or ["items were added, left out, or edited and sealed again"]


def _named(row: Row) -> str:
    kind = "" if row["filter"] == "none" else f", filter {row['filter']}"
    return f"document {row['doc_id']}, sample {row['sample']}{kind}"
