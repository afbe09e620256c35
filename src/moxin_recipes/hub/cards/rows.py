"""The tables of a card that hold what its manifest says: `card.md` and its kin show their rows.

`moxin verify` compares the rows of a card with these, so that each table has one form.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from moxin_recipes.hub import licences
from moxin_recipes.hub.cards.tables import cell, interval, licences_by_part, span

Manifest = dict[str, Any]
Row = tuple[str, ...]
_STDERR = "_stderr"  # ends the name of a metric's standard error


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first `label` cells of a row say what it is of, the others are figures."""

    label: int
    rows: list[Row]

    def __str__(self) -> str:
        return "\n".join(f"| {' | '.join(row)} |" for row in self.rows)


def of(manifest: Manifest) -> dict[str, Table]:
    """Name → table of all that a manifest has; a page shows those of its kind."""
    release = manifest.get("release") or {}
    tables: dict[str, tuple[int, Iterable[Iterable[Any]]]] = {
        "scores": (3, map(_score, manifest.get("scores") or [])),
        "metrics": (1, _metrics(manifest.get("metrics") or {})),
        "counts": (1, (manifest.get("counts") or {}).items()),
        "contamination": (2, map(_contamination, manifest.get("contamination") or [])),
        "licences": (1, licences_by_part(licences.Part(**part) for part in stated(manifest))),
        "stages": (2, map(_stage, release.get("scores") or [])),
        "data": (1, map(_data, release.get("data") or [])),
        "evaluation_items": (2, map(_items, release.get("evaluation_items") or [])),
        "costs": (1, map(_cost, release.get("costs") or [])),
    }
    return {
        name: Table(label, [tuple(map(cell, row)) for row in rows])
        for name, (label, rows) in tables.items()
    }


def stated(manifest: Manifest) -> Any:
    """The licences that a card lists: for a release those of all its repositories."""
    return (manifest.get("release") or {}).get("licenses") or manifest.get("licenses")


def _score(row: Manifest) -> Iterable[Any]:
    failed = row.get("failed")
    yield from (row.get("model"), row.get("task"), row.get("metric"))
    yield f"failed: {failed}" if failed else row.get("value")
    yield from (interval(row.get("low"), row.get("high")), row.get("items"), row.get("shots"))


def _metrics(metrics: Manifest) -> Iterator[Iterable[Any]]:
    for name, value in metrics.items():
        if not name.endswith(_STDERR):
            yield name, value, metrics.get(name + _STDERR)


def _contamination(row: Manifest) -> Iterable[Any]:
    found = f"{cell(row.get('found_items'))} of {cell(row.get('items'))}"
    return row.get("source"), row.get("set"), row.get("documents"), found, row.get("too_short")


def _stage(row: Manifest) -> Iterable[Any]:
    values = (_estimate(row.get(name)) for name in ("before", "after"))
    return row.get("stage"), row.get("measure"), *values, row.get("items")


def _estimate(found: Manifest | None) -> str | None:
    """A score of a release; with its interval, where it has one."""
    if not found:
        return None
    low, high = found.get("low"), found.get("high")
    between = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{found['value']:.3f}{between}"


def _data(row: Manifest) -> Iterable[Any]:
    counts = (row.get(name) for name in ("kept", "removed", "contaminated"))
    return row.get("data"), *counts, "; ".join(row.get("licenses") or []) or None


def _items(row: Manifest) -> Iterable[Any]:
    return (row.get(name) for name in ("at", "set", "items", "found", "documents", "too_short"))


def _cost(row: Manifest) -> Iterable[Any]:
    energy, price = row.get("energy_kwh"), row.get("price")
    yield from (row.get("stage"), span(row["seconds"]), row.get("on"), row.get("tokens"))
    yield f"{energy:.3g}" if energy else None
    yield f"{price:.2f}" if price else None
