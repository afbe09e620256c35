"""Readers that keep what they cannot use: each broken row, member or file is written down."""

import json
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.rows import MAX_BYTES, FileRows, Row
from moxin_recipes.documents.unpacked import Aside


class Reader(PipelineStep):
    """Documents of data files of all kinds (kinds.py); task r of w reads files r, r + w, …

    `files` are below `folder`. A row becomes a document with `source`, `license` and `origin` (the
    file and its row). What cannot be used goes to `removed`: a broken line as it stands, a missing
    text, bytes that are not of the encoding (escaped, or by their place), a text of more than 20
    MB, the place of a damaged gzip member (the next one is read again), and the rest of a file of
    which no more can be read.
    """

    type = "📖 - READER"
    name = "🩹 Careful reader"

    def __init__(
        self, folder: str, files: list[str], removed: Removed, source: dict[str, Any]
    ) -> None:
        super().__init__()
        self.folder, self.files, self.removed, self.given = folder, files, removed, source
        self.source, self.license = source["name"], source["license"]
        self.license_column, self.url_column = source["license_column"], source["url_column"]
        self.max_bytes = source["max_bytes"]
        self._rank = 0

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Yields the documents of this task's files, up to its share of `max_bytes`."""
        yield from data or ()
        self._rank = rank
        left = self.max_bytes // world_size if self.max_bytes else None
        with closing(self.removed):
            for file in self.files[rank::world_size]:
                logger.info(f"reading {file}")
                for document in self._documents(file):
                    if left is not None:
                        left -= _size(document.text)
                        if left < 0:
                            return
                    self.stat_update("total")
                    yield document

    def _aside(self, reason: str, origin: str, text: str = "") -> None:
        self.stat_update(reason)
        row = {"source": self.source, "license": self.license, "origin": origin}
        document = Document(text, origin, metadata={**row, "filter_reason": reason})
        self.removed.write(document, self._rank)

    def _documents(self, file: str) -> Iterator[Document]:
        def aside(reason: str, where: str, left: str) -> None:
            self._aside(reason, f"{file}{where}", left)

        for number, row in file_rows(Path(self.folder, file), self.given, aside):
            origin = f"{file}#{number}"
            text = text_of(row, self.given)
            if not isinstance(text, str) or not text:
                self._aside("no text", origin, "" if text is None else str(text))
            elif _size(text) > MAX_BYTES:
                self._aside("too long", origin, text)
            else:
                yield Document(text, origin, metadata=self._metadata(row, origin))

    def _metadata(self, row: Row | str, origin: str) -> dict[str, Any]:
        columns = {} if isinstance(row, str) else row
        given = _words(columns.get(self.license_column) if self.license_column else None)
        url = _words(columns.get(self.url_column) if self.url_column else None)
        metadata = {"source": self.source, "license": given or self.license, "origin": origin}
        return metadata | {"url": url}


def file_rows(
    path: Path, source: dict[str, Any], aside: Aside, every_column: bool = False
) -> FileRows:
    """The rows of a file as a source has them read; of parquet the columns that it needs."""
    wanted = {source["license_column"], source["url_column"], source["text_column"]}
    wanted.add(source["text_column"].split(".")[0])
    return FileRows(
        path,
        aside,
        encoding=source["encoding"],
        separator=source["separator"],
        column=None if source["text_template"] else source["text_column"],
        columns=None if every_column or source["text_template"] else wanted,
    )


def text_of(row: Row | str, source: dict[str, Any]) -> Any:
    """The text of a row by the template or of the column; None where it has none.

    `text_column` may name a field within a column: `page.body`.
    """
    if isinstance(row, str):
        return row
    if source["text_template"]:
        return _rendered(row, str(source["text_template"]))
    column = source["text_column"]
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _rendered(row: Row, template: str) -> str | None:
    """The text of a row by the template; None where a column is missing or of another kind."""
    try:
        return _compiled(template).render(row)
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError):
        return None


@cache
def _compiled(template: str) -> Template:
    """A recipe's template, without access to Python; a missing column is an error."""
    return SandboxedEnvironment(undefined=StrictUndefined).from_string(template)


def _words(value: Any) -> str | None:
    """Any value of a column as text that a file can hold; None for one that says nothing."""
    if isinstance(value, list):
        return ", ".join(words for one in value if (words := _words(one)))
    if value in (None, ""):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()


def _size(text: str) -> int:
    """Bytes of a text in UTF-8, of one too that is no Unicode."""
    return len(text.encode("utf-8", "surrogatepass"))
