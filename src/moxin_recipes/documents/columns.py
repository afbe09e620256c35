"""The columns of a document between the steps, and the writers of documents and of removed ones."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.writers import ParquetWriter

from moxin_recipes.hub.manifest import sha256_file

KEPT = ("text", "id", "source", "license", "origin", "split", "url")
REMOVED = ("text", "source", "license", "origin", "reason")


class _Counting(ParquetWriter):
    """Writes columns of text, and beside each parquet file a `.json` that says what it holds.

    Its `sha256`, and `counts`: rows of source, reason ("" where none stands), documents, and bytes
    of text in UTF-8. Tasks count at the same time, each its own files.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        columns: tuple[str, ...],
        adapter: Callable[..., dict[str, Any]],
    ) -> None:
        schema = pa.schema([(column, pa.string()) for column in columns])
        # One file a task, whatever its size: the names of the files are then known beforehand.
        super().__init__(folder, name, adapter=adapter, schema=schema, max_file_size=-1)
        self._counts: dict[str, Counter[tuple[str, str, str]]] = {}

    def _write(self, document: dict[str, Any], file_handler: Any, filename: str) -> None:
        super()._write(document, file_handler, filename)
        counts = self._counts.setdefault(filename, Counter())
        of = (str(document["source"]), document.get("reason") or "")
        counts[*of, "documents"] += 1
        counts[*of, "bytes"] += len((document["text"] or "").encode("utf-8", "surrogatepass"))

    def close(self) -> None:
        """Ends the files of a task, then says what they hold."""
        super().close()
        for name, counts in self._counts.items():
            path = Path(self.output_folder.path, name)
            rows = [
                [source, reason, counts[source, reason, "documents"], counts[source, reason, what]]
                for source, reason, what in sorted(counts)
                if what == "bytes"
            ]
            facts = json.dumps({"sha256": sha256_file(path), "counts": rows})
            path.with_suffix(".json").write_text(facts, encoding="utf-8")
        self._counts = {}


class Kept(_Counting):
    """Writes documents as parquet of text columns; `name` may use `${rank}` and `${source}`."""

    name = "📒 Kept"

    def __init__(self, folder: str, name: str = "${rank}.parquet") -> None:
        super().__init__(folder, name, KEPT, _kept)


class Removed(_Counting):
    """Writes what a block takes out: its reason is the block's own, or else `reason`."""

    name = "📒 Removed"

    def __init__(self, folder: str, reason: str) -> None:
        self.reason = reason
        super().__init__(folder, "${rank}.parquet", REMOVED, _removed)


def _kept(_: Kept, document: Document) -> dict[str, Any]:
    metadata = document.metadata
    row = {column: metadata.get(column) for column in KEPT}
    return row | {"text": document.text, "id": document.id}


def _removed(writer: Removed, document: Document) -> dict[str, Any]:
    row = {column: document.metadata.get(column) for column in REMOVED}
    row["reason"] = document.metadata.get("filter_reason") or writer.reason
    return row | {"text": document.text}
