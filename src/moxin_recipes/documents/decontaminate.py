"""Documents that hold evaluation items: taken out, each hit written down."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.filters.base_filter import BaseFilter

from moxin_recipes.documents.contamination import names_of, reason
from moxin_recipes.documents.index import Index


class Decontaminate(BaseFilter):
    """Takes out documents with hits in the index, and writes each hit to `hits/RANK.parquet`.

    `texts` names the set, item and kind of each text of the index.
    """

    name = "🦠 Decontaminate"

    def __init__(self, folder: str, hits: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder, self.hits = folder, hits
        self._index: Index | None = None
        self._names: list[tuple[str, str]] = []
        self._rows: list[dict[str, str]] = []

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """The reason names one set and rule; the hits name all."""
        if self._index is None:
            self._index = Index.load(Path(self.folder, "index.npz"))
            self._names = names_of(Path(self.folder))
        hits = self._index.hits(doc.text)
        for text, rule in hits:
            name, item = self._names[text]
            row = {"source": doc.metadata["source"], "id": doc.id, "set": name, "item": item}
            self._rows.append({**row, "rule": rule})
        if not hits:
            return True
        text, rule = hits[0]
        return False, reason(self._names[text][0], rule)

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Any:
        """As every filter, then the hits of this task; an empty file where there are none."""
        yield from super().run(data, rank, world_size)
        columns = ("source", "id", "set", "item", "rule")
        schema = pa.schema([(column, pa.string()) for column in columns])
        Path(self.hits).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(self._rows, schema=schema)
        pq.write_table(table, Path(self.hits, f"{rank:05d}.parquet"))
