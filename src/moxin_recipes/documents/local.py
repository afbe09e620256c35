"""Documents that this machine or a program makes, as a reader."""

import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from moxin_recipes.documents import local_text
from moxin_recipes.problems import arithmetic_rows

MATHS = "maths-text"
NAMES = (*local_text.SOURCES, MATHS)


def identity(source: str, seed: int, count: int) -> list[Any]:
    """What decides the texts of a local source: the interpreter, what is installed, the seed."""
    if source == MATHS:
        return [seed, count]
    if source == "package-readmes":
        found = metadata.distributions()
        return sorted({f"{one.metadata['Name']} {one.version}" for one in found})
    return [sys.version, str(local_text.stdlib_root())]


class LocalReader(PipelineStep):
    """The documents of a local source in their fixed order; task r of w reads r, r + w, …

    `max_bytes` bounds the source as a whole. `seed` and `count` are for generated documents.
    """

    type = "📖 - READER"
    name = "🏠 Local text"

    def __init__(self, source: str, max_bytes: int | None, seed: int, count: int) -> None:
        super().__init__()
        self.source, self.max_bytes, self.seed, self.count = source, max_bytes, seed, count

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Yields this task's documents."""
        yield from data or ()
        made = (
            arithmetic_rows.maths_documents("train", self.seed, self.count)
            if self.source == MATHS
            else local_text.SOURCES[self.source]()
        )
        left = self.max_bytes
        for number, row in enumerate(made):
            if left is not None:
                left -= len(row["text"].encode("utf-8", "surrogatepass"))
                if left < 0:
                    return
            if number % world_size == rank:
                metadata = {name: value for name, value in row.items() if name != "text"}
                yield Document(row["text"], row["origin"], metadata=metadata)
