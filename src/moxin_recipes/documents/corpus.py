"""Clean documents as a dataset repository: each source, what was removed, and the counts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moxin_recipes.documents import account, contamination, local_text
from moxin_recipes.documents.pipeline import Documents
from moxin_recipes.documents.steps import Step
from moxin_recipes.hub import licences
from moxin_recipes.hub.files import spread
from moxin_recipes.hub.splits import write_split

Row = dict[str, Any]


def write(documents: Documents, folder: Path) -> dict[str, Any]:
    """Fills `folder` with links to the files of `documents`; the facts for manifest and card.

    Configs: one for each source (splits `train`, `heldout`), `removed` with the reason of each
    document, `contamination` (the report), `contaminated_items` (found, or too short to look for),
    `evaluation_items` (all that were looked for, by digest), and `files`, the list of what was read
    of each repository.
    """
    counts: Counter[str] = Counter()
    licenses: dict[str, set[str]] = {}  # of each source, as declared
    origins: dict[str, set[str]] = {}  # of the texts of each source
    here = {source.name for source in documents.keys.sources if source.dataset == "local"}
    for source, files in documents.files.items():
        licenses[source], origins[source] = set(), set()
        names = spread([f"{file.split}-{file.task}.parquet" for file in files])
        for file, name in zip(files, names, strict=True):
            path = documents.folder / file.path
            link(path, folder / source / name)
            counts[f"{source}/kept"] += file.documents
            licenses[source] |= _values(path, "license")
            if source in here & {*local_text.SOURCES}:
                origins[source] |= _values(path, "origin")
    _link_removed(documents, folder)
    for gone in (gone for step in documents.steps for gone in step.gone()):
        counts[f"{gone.source}/{gone.reason}"] += gone.documents
    read = [
        {"source": name, "file": file} for name, files in documents.read.items() for file in files
    ]
    write_split(folder / "files", "train", read)
    report = _contamination(documents, folder) if documents.keys.decontaminate else []
    return {
        "summary": "Clean, distinct documents; `removed` has what was taken out, with the reason "
        "of each. `heldout` is never trained on.",
        "licenses": licences.listed(_parts(documents, licenses)),
        "distributions": {
            name: local_text.distributions(name, texts) for name, texts in origins.items() if texts
        },
        "counts": dict(sorted(counts.items())),
        "notes": [
            "## What became of each source\n",
            *account.table(documents),
            "\nBytes are those of a text when it was counted.\n",
        ],
        "contamination": report,
    }


def _link_removed(documents: Documents, folder: Path) -> None:
    removed = [
        path
        for step in documents.steps
        for path in sorted((step.folder / "removed").rglob("*.parquet"))
    ]
    numbered = spread([f"train-{number:05d}.parquet" for number in range(len(removed))])
    for path, name in zip(removed, numbered, strict=True):
        link(path, folder / "removed" / name)


def _contamination(documents: Documents, folder: Path) -> list[Row]:
    """Writes the report and the lists of evaluation items; the rows of the report."""
    hits = [row for step in documents.steps for row in _hits(step)]
    index = next(step for step in documents.steps if "digests" in step.facts)
    report, items = contamination.report(index.folder / "index", hits, list(documents.files))
    write_split(folder / "contamination", "train", report)
    listed = [item for item in items if item["status"] != contamination.NOT_FOUND]
    write_split(folder / "contaminated_items", "test", listed)
    # All of them by digest alone: a corpus must not hold the texts that it was cleaned of.
    told = ("set", "item", "columns", "digest", "status")
    every = [{name: item[name] for name in told} for item in items]
    write_split(folder / "evaluation_items", "test", every)
    return report


def _hits(step: Step) -> Iterator[Row]:
    for file in sorted((step.folder / "hits").glob("*.parquet")):
        yield from pq.read_table(file).to_pylist()


def _parts(documents: Documents, declared: dict[str, set[str]]) -> Iterator[licences.Part]:
    """The licences of each source's rows; where these say nothing, what its repository states."""
    for position, source in enumerate(documents.keys.sources):
        for name in sorted(map(licences.named, declared[source.name])):
            if name != licences.UNKNOWN or source.dataset == "local":
                yield licences.Part(name, f"the source {source.name}")
            else:
                yield from licences.of_parent(documents.parent(f"sources[{position}]"))


def _values(path: Path, column: str) -> set[str]:
    return set(pq.read_table(path, columns=[column])[column].unique().to_pylist())


def link(file: Path, name: Path) -> None:
    """The same file under another name; no second copy of it."""
    name.parent.mkdir(parents=True, exist_ok=True)
    name.hardlink_to(file)
