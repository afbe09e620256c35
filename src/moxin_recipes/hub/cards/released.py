"""What a release says of its parts, from their manifests: data, evaluation items, cost."""

from collections.abc import Iterable
from typing import Any

Manifest = dict[str, Any]
Row = dict[str, Any]
_OF_DATA = ("data", "distill")  # stages whose datasets hold text
_KEPT = "/kept"  # after a source, in the counts of a corpus
_TUNED = ("sft", "dpo", "grpo")  # these look through their rows themselves


def data(datasets: Iterable[tuple[str, Manifest]]) -> list[Row]:
    """A row for each source of a corpus, and for each other dataset with text.

    `datasets` are repositories and their manifests. Columns: `data`, `kept` and `removed` (numbers
    of documents or rows), `contaminated` (of these, for an evaluation item; None where none was
    looked for), `licenses`.
    """
    rows: list[Row] = []
    for repo, manifest in datasets:
        if manifest.get("stage") not in _OF_DATA or manifest.get("form"):
            continue  # tokens are the same documents again
        counts = manifest.get("counts") or {}
        sources = sorted(what.removesuffix(_KEPT) for what in counts if what.endswith(_KEPT))
        name, parts = repo.rpartition("/")[2], manifest.get("licenses", [])
        if sources:
            rows += [_source(f"{name}: {source}", source, manifest) for source in sources]
        else:
            gone = [number for what, number in counts.items() if what.startswith("rejected")]
            kept = counts.get("kept", sum(counts.values()))
            licenses = sorted({part["license"] for part in parts})
            rows.append(_row(name, kept, sum(gone), None, licenses))
    return rows


def _source(name: str, source: str, manifest: Manifest) -> Row:
    begins = f"{source}/"
    counts = {
        what.removeprefix(begins): number
        for what, number in manifest["counts"].items()
        if what.startswith(begins)
    }
    removed = sum(number for what, number in counts.items() if what != "kept")
    looked = bool(manifest.get("contamination"))
    held = sum(number for what, number in counts.items() if what.startswith("contaminated"))
    parts = manifest.get("licenses", [])
    licenses = {part["license"] for part in parts if part["of"].endswith(f"the source {source}")}
    return _row(name, counts.get("kept", 0), removed, held if looked else None, sorted(licenses))


def _row(name: str, kept: int, removed: int, held: int | None, licenses: list[str]) -> Row:
    return {
        "data": name,
        "kept": kept,
        "removed": removed,
        "contaminated": held,
        "licenses": licenses,
    }


def evaluation_items(manifests: Iterable[Manifest]) -> list[Row]:
    """A row for each evaluation set that was looked for, and where: `set`, `items`, `found`, …

    `at` is the stage that looked. Items are the set's; `found`, the most that one source held.
    """
    rows: dict[tuple[str, str], Row] = {}
    for manifest in manifests:
        if manifest.get("stage") not in (*_OF_DATA, *_TUNED) or manifest.get("form"):
            continue
        for line in manifest.get("contamination") or []:
            key = (manifest["recipe_name"], line["set"])
            new = {"at": key[0], "set": key[1], "documents": 0, "found": 0}
            row = rows.setdefault(key, new)
            row |= {"items": line["items"], "too_short": line["too_short"]}
            row["documents"] += line["documents"]
            row["found"] = max(row["found"], line["found_items"])
    return list(rows.values())


def costs(manifests: Iterable[Manifest]) -> tuple[list[Row], Row]:
    """A row for each stage, once however many outputs it has, and their sum."""
    stages: dict[tuple[str, str], Row] = {}
    for manifest in manifests:
        if not manifest:
            continue
        row = stages.setdefault(
            (manifest["recipe_name"], manifest["key"]),
            {"stage": manifest["recipe_name"], "seconds": 0.0, "tokens": None, "on": ""},
        )
        row["seconds"] = max(row["seconds"], manifest["seconds"])
        row["tokens"] = manifest.get("tokens") or row["tokens"]
        row |= {name: manifest.get(name) for name in ("energy_kwh", "price")}
        machine = manifest["hardware"]
        gpus = ", ".join(sorted(set(machine["gpus"])))
        cpus = f"{machine['cpus']} CPUs ({machine.get('cpu') or machine['machine']})"
        row["on"] = f"{machine['processes']} × {gpus}" if gpus else cpus
    rows = sorted(stages.values(), key=lambda row: str(row["stage"]))
    total: Row = {"seconds": sum(row["seconds"] for row in rows)}
    for name in ("energy_kwh", "price"):
        known = [row[name] for row in rows if row[name]]
        total[name] = sum(known) if known else None
    return rows, total
