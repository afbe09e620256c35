"""The columns of a document between the steps, and the writers of documents and of removed ones."""

from typing import Any

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.writers import ParquetWriter

KEPT = ("text", "id", "source", "license", "origin", "split", "url")
REMOVED = ("text", "source", "license", "origin", "reason")


class Kept(ParquetWriter):
    """Writes documents as parquet of text columns; `name` may use `${rank}` and `${source}`."""

    name = "📒 Kept"

    def __init__(self, folder: str, name: str = "${rank}.parquet") -> None:
        schema = pa.schema([(column, pa.string()) for column in KEPT])
        # One file a task, whatever its size: the names of the files are then known beforehand.
        super().__init__(folder, name, adapter=_kept, schema=schema, max_file_size=-1)


class Removed(ParquetWriter):
    """Writes what a block takes out: its reason is the block's own, or else `reason`."""

    name = "📒 Removed"

    def __init__(self, folder: str, reason: str) -> None:
        self.reason = reason
        schema = pa.schema([(column, pa.string()) for column in REMOVED])
        super().__init__(folder, adapter=_removed, schema=schema, max_file_size=-1)


def _kept(_: Kept, document: Document) -> dict[str, Any]:
    metadata = document.metadata
    row = {column: metadata.get(column) for column in KEPT}
    return row | {"text": document.text, "id": document.id}


def _removed(writer: Removed, document: Document) -> dict[str, Any]:
    row = {column: document.metadata.get(column) for column in REMOVED}
    row["reason"] = document.metadata.get("filter_reason") or writer.reason
    return row | {"text": document.text}
